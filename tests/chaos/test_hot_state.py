"""Valkey, in Dragonfly's place, is killed, wiped, set back and away."""

import time
from pathlib import Path

from models.limit import Limit
from tests.chaos.batches import (
    make_batch,
    progress,
    queue,
    send_to_the_middle,
    wait_done,
)
from tests.chaos.evidence import Evidence, seqs_of
from tests.chaos.house import House
from tests.chaos.verifier import verify

#: A batch takes four seconds by it, so that the limit is what is tested.
LIMIT = Limit(5000, 500)


def test_it_is_killed_and_comes_back_with_its_data(house: House) -> None:
    """Nobody is lost or repeated, and the limit holds."""
    batch = make_batch(house, limit=LIMIT)
    send_to_the_middle(house, batch)

    house.stack.dragonfly.kill()
    house.stack.dragonfly.start()

    found = verify(house, batch)
    assert found.row["sent"] == batch.recipients


def test_it_comes_back_empty(house: House) -> None:
    """Bitmaps are painted from the ledger; buckets begin empty."""
    batch = make_batch(house, limit=LIMIT)
    send_to_the_middle(house, batch)

    house.stack.dragonfly.restart_empty()

    found = verify(house, batch)
    assert found.row["sent"] == batch.recipients


def test_it_goes_back_in_time(house: House, tmp_path: Path) -> None:
    """A copy ten seconds old permits nothing: not a call, not a token."""
    batch = make_batch(house, limit=LIMIT, recipients=60_000)
    queue(house, batch)
    wait_done(house, batch, 0.02)
    house.stack.dragonfly.snapshot(tmp_path / "copy")
    house.hold(10)
    assert progress(house, batch).status == "processing"

    house.stack.dragonfly.restore(tmp_path / "copy")

    found = verify(house, batch)
    assert found.row["sent"] == batch.recipients


def test_it_is_away(house: House) -> None:
    """Two of three processes share half of the rate; all of it is used when it is back.

    Nobody is restarted, and the bitmaps are painted afterwards.
    """
    batch = make_batch(house, limit=LIMIT, recipients=40_000)
    send_to_the_middle(house, batch)
    workers = {one.pid for one in house.processes["worker-1"].family()}

    killed_s = time.time()
    house.stack.dragonfly.kill()
    house.hold(6)
    back_s = time.time()
    house.stack.dragonfly.start()

    found = verify(house, batch)
    assert found.row["sent"] == batch.recipients
    assert {one.pid for one in house.processes["worker-1"].family()} == workers
    # What was taken before comes in the first second, and local buckets begin empty.
    away = _per_s(found, killed_s + 1.0, back_s)
    assert 0 < away <= LIMIT.per_s / 2 * 1.05, f"{away:.0f}/s while it was away."
    ended_s = found.calls[-1].t
    again = max(_per_s(found, s, s + 2.0) for s in range(int(back_s), int(ended_s)))
    assert again > LIMIT.per_s / 2, f"Never more than {again:.0f}/s when it was back."


def _per_s(found: Evidence, begin_s: float, end_s: float) -> float:
    """Return recipients a second that the sink got in a time."""
    calls = (call for call in found.calls if begin_s <= call.t < end_s)
    return sum(len(seqs_of(call)) for call in calls) / (end_s - begin_s)
