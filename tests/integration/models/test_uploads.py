"""A part is taken whole and once; seqs are dense; the first row of an address wins."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.errors import (
    InvalidInputError,
)
from models.queries.uploads import take_part
from models.recipients import Block


def block(*addresses: str, line: int = 1, name: str = "n") -> Block:
    return Block(
        lines=list(range(line, line + len(addresses))),
        addresses=list(addresses),
        variables=[f'{{"{name}":"{address[:1]}"}}' for address in addresses],
        names=frozenset({name}),
    )


@pytest.fixture
def take(database, config, make_draft):
    batch_id = make_draft()

    def take_blocks(part: int, *blocks: Block):
        with database.transaction() as connection:
            return take_part(connection, config["tenant_id"], batch_id, part, blocks)

    take_blocks.batch_id = batch_id
    return take_blocks


@pytest.fixture
def rows(database, take):
    """Return `(seq, address, first variable)` of everybody."""

    def read_rows():
        with database.statement() as connection:
            found = connection.exec_driver_sql(
                "select seq, address, variables ->> 'n' from recipients"
                " where batch_id = %s order by seq",
                (take.batch_id,),
            )
            return [tuple(row) for row in found]

    return read_rows


@pytest.fixture
def counters(database, take):
    def read_counters():
        with database.statement() as connection:
            found = connection.exec_driver_sql(
                "select rows, recipients, duplicates, invalid, variable_names"
                " from batches where id = %s",
                (take.batch_id,),
            )
            return tuple(found.one())

    return read_counters


def test_duplicates_fall_within_a_part_and_among_parts(take, rows, counters):
    first = take(1, block("a", "b", "a"), block("b", "c", line=4))
    second = take(2, block("c", "d", "a", "e", name="m"))

    assert (first.body["added"], first.body["duplicates"]) == (3, 2)
    assert (second.body["added"], second.body["duplicates"]) == (2, 2)
    assert rows() == [
        (0, "a", "a"),
        (1, "b", "b"),
        (2, "c", "c"),
        (3, "d", None),
        (4, "e", None),
    ]
    assert counters() == (9, 5, 4, 0, ["m", "n"])


def test_addresses_of_one_hash_are_two_people(take, rows):
    # hashtext() gives both the same number.
    same_hash = _colliding()
    take(1, block(same_hash[0]))

    answer = take(2, block(same_hash[1], same_hash[0]))

    assert answer.body["added"] == 1
    assert [row[1] for row in rows()] == list(same_hash)


def _colliding() -> tuple[str, str]:
    return ("user60116@x.io", "user79430@x.io")


def test_what_postgres_reads_as_special_arrives_as_it_was(take, database):
    odd = Block([1], ["a\\b\\N"], ['{"n":"line\\nfeed \\\\ \\"quoted\\" \\t ü 🎈"}'])

    take(1, odd)

    with database.statement() as connection:
        found = connection.exec_driver_sql(
            "select address, variables ->> 'n' from recipients where batch_id = %s",
            (take.batch_id,),
        ).one()
    assert tuple(found) == ("a\\b\\N", 'line\nfeed \\ "quoted" \t ü 🎈')


def test_a_part_taken_before_is_answered_alike_and_changes_nothing(take, rows):
    first = take(1, block("a", "b"))

    again = take(1, block("x", "y", "z"))

    assert (first.replayed, again.replayed) == (False, True)
    assert again.body == first.body
    assert len(rows()) == 2


def test_one_part_sent_many_times_at_once_counts_once(take, rows, counters):
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: take(1, block("a", "b", "a")), range(4)))

    assert sorted(answer.replayed for answer in answers) == [False, True, True, True]
    assert len({str(answer.body) for answer in answers}) == 1
    assert len(rows()) == 2
    assert counters()[:4] == (3, 2, 1, 0)


def test_parts_that_arrive_side_by_side_are_numbered_without_a_hole(take, rows):
    parts = [block(*[f"{part}-{i}" for i in range(50)], "same") for part in range(4)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take, range(4), parts))

    found = rows()
    assert [row[0] for row in found] == list(range(201))
    assert len({row[1] for row in found}) == 201


def test_a_part_that_breaks_off_leaves_nothing(take, rows, counters):
    def broken() -> Iterator[Block]:
        yield block("a")
        raise InvalidInputError("Line 2 is not UTF-8.")

    with pytest.raises(InvalidInputError, match="Line 2"):
        take(1, *[], *broken_blocks(broken))

    assert rows() == []
    assert counters()[0] == 0
    assert take(1, block("a")).replayed is False


def broken_blocks(make):
    """Return the blocks lazily, so that they break inside the COPY."""
    return _Lazy(make())


class _Lazy:
    def __init__(self, blocks):
        self._blocks = blocks

    def __iter__(self):
        return self._blocks
