"""A tenant pauses, resumes and cancels in the middle."""

import math
from collections import Counter

from models.queries.control import cancel_batch, pause_batch, resume_batch
from tests.chaos.batches import control, leases, make_batch, send_to_the_middle
from tests.chaos.house import CALL_DEADLINE_S, CALL_MARGIN_S, LEASE_S, House, until
from tests.chaos.verifier import verify


def test_a_paused_batch_is_quiet_and_goes_on(house: House) -> None:
    """Resumed within the window of duplicates, every open chunk is published anew."""
    batch = make_batch(house)
    send_to_the_middle(house, batch)

    paused_s = control(house, batch, pause_batch)
    house.hold(CALL_DEADLINE_S + CALL_MARGIN_S + 1)
    resumed_s = control(house, batch, resume_batch)

    found = verify(house, batch, quiet=[(paused_s, resumed_s)])
    assert found.row["sent"] == batch.recipients
    assert max(call.t for call in found.calls) > resumed_s, "All was sent before."


def test_a_cancelled_batch_calls_nobody_any_more(house: House) -> None:
    """Calls under way are finished and counted; all others are cancelled."""
    batch = make_batch(house)
    send_to_the_middle(house, batch)

    cancelled_s = control(house, batch, cancel_batch)

    found = verify(house, batch, status="cancelled", quiet=[(cancelled_s, math.inf)])
    assert found.row["sent"] > 0
    assert found.row["cancelled"] > 0
    assert found.row["sent"] + found.row["cancelled"] == batch.recipients


def test_a_worker_is_killed_while_its_batch_is_cancelled(house: House) -> None:
    """Its calls are in doubt, so they are unknown and not cancelled."""
    batch = make_batch(house)
    send_to_the_middle(house, batch)

    with house.fault() as fault:
        house.kill_worker("worker-1")
        cancelled_s = control(house, batch, cancel_batch)
    house.heal()

    found = verify(
        house,
        batch,
        status="cancelled",
        faults=[fault],
        quiet=[(cancelled_s, math.inf)],
    )
    assert found.row["unknown"] > 0
    assert found.row["cancelled"] > 0


def test_a_worker_is_killed_while_its_keyed_batch_is_paused(house: House) -> None:
    """A call in doubt waits for the resumption and is repeated under its key."""
    batch = make_batch(house, keyed=True)
    send_to_the_middle(house, batch)

    house.kill_worker("worker-1")
    paused_s = control(house, batch, pause_batch)
    house.heal()
    until(lambda: not leases(house, batch), "every lease has ended")
    house.hold(LEASE_S)
    resumed_s = control(house, batch, resume_batch)

    found = verify(house, batch, quiet=[(paused_s, resumed_s)])
    assert found.row["sent"] == batch.recipients
    keys = Counter(call.key for call in found.calls)
    assert max(keys.values()) > 1, "No call was repeated: the fault missed them all."
