"""A provider fails in the middle of a batch and comes back."""

from tests.chaos.batches import make_batch, queue, send_to_the_middle, wait_ended
from tests.chaos.house import CALL, LATENCY_MS, House
from tests.chaos.verifier import verify

#: Groups that two workers of four threads have in call at most.
IN_CALL = 8
#: Probes that go out before the breaker opens, and the first after that.
PROBES = 4 + 1
DOWN_S = 5.0


def test_an_outage_makes_unknown_only_who_was_in_call_and_the_probes(
    house: House,
) -> None:
    """It takes every message and answers none; another config goes on meanwhile."""
    batch = make_batch(house)
    other = make_batch(house, keyed=True, recipients=2_000)
    send_to_the_middle(house, batch)

    with house.fault() as fault:
        house.sink_behaves(resetAfterAccept=True, latencyMs=LATENCY_MS)
        queue(house, other)
        wait_ended(house, other)
        house.hold(DOWN_S)
        house.sink_behaves(latencyMs=LATENCY_MS)

    found = verify(house, batch, faults=[fault])
    assert found.row["sent"] + found.row["unknown"] == batch.recipients
    # Its waits are a second or longer.
    probes = PROBES + int(fault.end_s - fault.begin_s)
    assert 0 < found.row["unknown"] <= (IN_CALL + probes) * CALL
    assert verify(house, other).row["sent"] == other.recipients


def test_a_provider_that_is_not_there_loses_nobody(house: House) -> None:
    """Its process is killed: who was in call is unknown, the others wait for it."""
    batch = make_batch(house)
    send_to_the_middle(house, batch)

    with house.fault() as fault:
        house.processes["sink-plain"].kill()
        house.hold(DOWN_S)
    house.heal()

    found = verify(house, batch, faults=[fault])
    assert found.row["sent"] + found.row["unknown"] == batch.recipients
    assert found.row["unknown"] <= IN_CALL * CALL
