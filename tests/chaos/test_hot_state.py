"""Valkey, in Dragonfly's place, is killed, wiped, set back and away."""

from pathlib import Path

from models.limit import Limit
from tests.chaos.batches import (
    make_batch,
    progress,
    queue,
    send_to_the_middle,
    sink_calls,
    wait_done,
)
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
    """Sending goes on by half of the rate, and the bitmaps are painted afterwards."""
    batch = make_batch(house, limit=LIMIT)
    send_to_the_middle(house, batch)

    house.stack.dragonfly.kill()
    before = len(sink_calls(house, batch))
    house.hold(5)
    during = len(sink_calls(house, batch)) - before
    house.stack.dragonfly.start()

    found = verify(house, batch)
    assert during > 0, "Nothing was sent while it was away."
    assert found.row["sent"] == batch.recipients
