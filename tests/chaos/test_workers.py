"""Workers are killed and stopped in the middle of a batch."""

from collections import Counter

from tests.chaos.batches import make_batch, queue, send_to_the_middle, sink_calls
from tests.chaos.fault_proxy import FaultProxy
from tests.chaos.house import CALL_MARGIN_S, LEASE_S, House, until
from tests.chaos.verifier import verify


def test_a_batch_without_faults_leaves_no_doubt(house: House) -> None:
    """Everybody is sent, once; the verifier finds nothing."""
    batch = make_batch(house)

    send_to_the_middle(house, batch)

    found = verify(house, batch)
    assert found.row["sent"] == batch.recipients


def test_a_killed_worker_repeats_nobody(house: House) -> None:
    """Without keys, `at_most_once`: who was in call is unknown, the others are sent."""
    batch = make_batch(house)
    send_to_the_middle(house, batch)

    with house.fault() as fault:
        house.kill_worker("worker-1")
    house.heal()

    found = verify(house, batch, faults=[fault])
    assert found.row["unknown"] > 0
    assert found.row["sent"] + found.row["unknown"] == batch.recipients


def test_a_killed_workers_calls_are_repeated_under_their_keys(house: House) -> None:
    """With keys nobody is unknown: the same call comes again with the same content."""
    batch = make_batch(house, keyed=True)
    send_to_the_middle(house, batch)

    house.kill_worker("worker-1")
    house.heal()

    found = verify(house, batch)
    assert found.row["sent"] == batch.recipients
    keys = Counter(call.key for call in found.calls)
    assert max(keys.values()) > 1, "No call was repeated: the fault missed them all."


def test_at_least_once_leaves_nobody_out(house: House) -> None:
    """Without keys, `at_least_once`: who stayed in doubt is called again."""
    batch = make_batch(house, policy="at_least_once")
    send_to_the_middle(house, batch)

    with house.fault() as fault:
        house.kill_worker("worker-1")
    house.heal()

    found = verify(house, batch, faults=[fault])
    assert found.row["sent"] == batch.recipients
    assert "1" in found.ledger("doubt"), "Nobody was in doubt: the fault missed."


def test_a_worker_that_wakes_after_its_lease_changes_nothing(house: House) -> None:
    """Stopped in its calls: the rows are another's; what it heard counts as facts."""
    batch = make_batch(house)
    send_to_the_middle(house, batch)
    worker = house.processes["worker-1"]

    with house.fault() as fault:
        worker.pause()
    house.hold(2 * LEASE_S)
    worker.resume()

    found = verify(house, batch, faults=[fault])
    assert found.row["sent"] + found.row["unknown"] == batch.recipients


def test_a_worker_that_stood_between_claim_and_call_calls_nobody(house: House) -> None:
    """Woken after two leases, it finds its claim too old to begin a call."""
    batch = make_batch(house)
    with (
        FaultProxy(house.stack.ports["postgres"]) as proxy,
        house.worker_through(proxy, "DATABASE_URL") as worker,
    ):
        send_to_the_middle(house, batch)

        with house.fault() as fault:
            # Whatever it claims now it does not hear of.
            proxy.hold_answers()
            house.hold(0.5)
            worker.pause()
        proxy.release_answers()
        before = len(sink_calls(house, batch))
        house.hold(2 * LEASE_S + CALL_MARGIN_S)
        worker.resume()

        found = verify(house, batch, faults=[fault])
    assert before < len(found.calls), "The other worker had nothing left to do."
    assert found.row["unknown"] > 0, "Nobody stood between claim and call."
    never = [seq for seq in found.seqs("unknown") if not found.maybe_taken[seq]]
    assert never, "All who are unknown were called: it stood elsewhere."


def test_a_worker_killed_between_a_refusal_and_its_nak_loses_nobody(
    house: House,
) -> None:
    """The ledger knows the refusal; the message comes again when its wait is over."""
    batch = make_batch(house)
    with (
        FaultProxy(house.stack.ports["nats"]) as proxy,
        house.worker_through(proxy, "NATS_URL") as worker,
    ):
        house.processes["worker-1"].kill()
        proxy.lose_from(b"-NAK")
        house.sink_behaves(status=429)
        queue(house, batch)

        until(proxy.met.is_set, "a refused chunk is postponed")
        with house.fault() as fault:
            worker.kill()
        house.heal()

        found = verify(house, batch, faults=[fault])
    assert any(call.status == 429 for call in found.calls)
    assert found.row["sent"] + found.row["unknown"] == batch.recipients
