"""What is added is inserted: in blocks, in order, however often an insert fails."""

import os
import threading
import time
from pathlib import Path

import pytest

from analytics.buffer import Buffer
from analytics.spool import Spool, rows_of
from models.errors import NeighbourUnavailableError


class Table:
    """Takes blocks, or refuses as a test says, and remembers every try."""

    def __init__(self):
        self.tries = []
        self.rows = []
        self.error = None
        self.told = threading.Event()

    def insert(self, rows, token):
        """Take a block, or raise the error."""
        self.tries.append((token, rows))
        self.told.set()
        if self.error:
            raise self.error
        self.rows += rows

    @property
    def tokens(self):
        """The blocks' names in order of their first try."""
        return list(dict.fromkeys(token for token, _ in self.tries))


AWAY = NeighbourUnavailableError("away")


@pytest.fixture
def table():
    """An empty table."""
    return Table()


@pytest.fixture
def buffer_of(tmp_path):
    """Makes buffers on one disk, closed at the end."""
    made = []

    def make(table, **limits):
        made.append(Buffer(table.insert, tmp_path / "rows", **limits))
        return made[-1]

    yield make
    for buffer in made:
        buffer.close()


def died(folder, *added):
    """Leave a folder as a killed process does: unlocked, its last block open."""
    spool = Spool(folder, cap_bytes=1_000_000)
    for rows in added:
        spool.append(rows)
    # A killed process lets its lock go, and nothing else.
    os.close(spool._lock)


def until(true, deadline_s=20):
    """Wait for what another thread brings about."""
    ends = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < ends, "it never happened"
        threading.Event().wait(0.01)


def test_rows_wait_for_each_other(buffer_of, table):
    """A block is full with so many rows, not before."""
    buffer = buffer_of(table, most_rows=4, longest_s=60)

    buffer.add([(1, "a"), (2, "b")])
    assert not table.tries
    buffer.add([(3, "c"), (4, "d")])
    until(lambda: table.rows)

    assert table.rows == [[1, "a"], [2, "b"], [3, "c"], [4, "d"]]
    assert len(table.tokens) == 1


def test_no_row_waits_longer_than_it_may(buffer_of, table):
    """A block that never fills is inserted when its oldest row is old."""
    buffer = buffer_of(table, longest_s=0.05)

    buffer.add([(1,)])

    until(lambda: table.rows == [[1]])


def test_a_failed_block_is_the_same_block_each_time(buffer_of, table, tmp_path):
    """Same rows, same token, so that a server that had it takes it once."""
    table.error = AWAY
    buffer = buffer_of(table, longest_s=60)
    buffer.add([(1,)])
    assert not buffer.flush()
    buffer.add([(2,)])

    table.error = None

    assert buffer.flush()
    assert table.rows == [[1], [2]]
    first, *_ = table.tries
    assert table.tries[1] == first
    assert len(table.tokens) == 2
    assert not list(tmp_path.rglob("*.block"))


def test_a_block_is_tried_again_unasked(buffer_of, table):
    """Nobody has to add a row for the others to go."""
    table.error = AWAY
    buffer = buffer_of(table, longest_s=0.01)
    buffer.add([(1,)])
    table.told.wait(20)

    table.error = None

    until(lambda: table.rows == [[1]])


def test_a_refused_block_keeps_nobody_waiting(buffer_of, table):
    """Waiting would not help it, and would harm all behind it."""
    buffer = buffer_of(table, longest_s=60)
    table.error = TypeError("not a number")
    buffer.add([("bad",)])
    assert not buffer.flush()
    buffer.add([(2,)])
    insert, table.error = table.insert, None

    def insert_good(rows, token):
        if rows == [["bad"]]:
            raise TypeError
        insert(rows, token)

    buffer._insert = insert_good
    assert not buffer.flush()

    assert table.rows == [[2]]


def test_a_full_spool_takes_nothing_more(buffer_of, table):
    """The caller keeps what it has, and is told to come again."""
    table.error = AWAY
    buffer = buffer_of(table, longest_s=60, spool_cap_bytes=2_000)
    buffer.add([("x" * 1_500,)])
    with pytest.raises(NeighbourUnavailableError, match="full"):
        buffer.add([("y" * 1_500,)])

    table.error = None
    assert buffer.flush()
    buffer.add([("y" * 1_500,)])

    assert buffer.flush()
    assert len(table.rows) == 2


def test_closing_inserts_what_waits(buffer_of, table):
    """Nothing is left on the disk, and nothing more is taken."""
    buffer = buffer_of(table, longest_s=60)
    buffer.add([(1,)])

    assert buffer.close()

    assert table.rows == [[1]]
    with pytest.raises(NeighbourUnavailableError, match="closed"):
        buffer.add([(2,)])


def test_the_next_process_inserts_what_one_left(buffer_of, table):
    """Under the tokens that were tried before, oldest first."""
    away = Table()
    away.error = AWAY
    first = buffer_of(away, longest_s=60)
    for row in ((1,), (2,)):
        first.add([row])
        first.flush()
    assert not first.close()

    second = buffer_of(table, longest_s=60)

    assert second.flush()
    assert table.rows == [[1], [2]]
    assert table.tokens[0] == away.tokens[0]


def test_a_killed_process_loses_nothing_it_had_taken(buffer_of, table, tmp_path):
    """Its open block is whole, but for a line that it never answered for."""
    died(tmp_path / "rows", [(1,)], [(2,)])
    [block] = (tmp_path / "rows").rglob("*.open")
    with block.open("ab") as file:
        file.write(b'12345678 [["cut o')

    assert buffer_of(table).flush()

    assert table.rows == [[1], [2]]


def test_a_living_process_keeps_its_blocks(buffer_of, table):
    """Two processes share the disk, and each inserts its own."""
    away = Table()
    away.error = AWAY
    first = buffer_of(away, longest_s=60)
    first.add([(1,)])
    first.flush()

    second = buffer_of(table, longest_s=60)
    second.add([(2,)])
    second.flush()

    assert table.rows == [[2]]


def test_a_disk_that_refuses_fails_the_add(tmp_path, monkeypatch):
    """What is not on the disk is not promised; the next block is a new file."""
    spool = Spool(tmp_path, cap_bytes=1_000)
    spool.append([(1,)])

    def refuse(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("os.fdatasync", refuse)
        with pytest.raises(NeighbourUnavailableError, match="No space"):
            spool.append([(2,)])
    spool.append([(3,)])
    spool.seal()

    assert rows_of(spool.sealed()[-1]) == [[3]]
    assert spool.bytes == sum(Path(block).stat().st_size for block in spool.sealed())
