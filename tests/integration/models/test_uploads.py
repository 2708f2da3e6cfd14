"""A part is taken whole and once; seqs are dense; the first row of an address wins."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import text

from models.errors import (
    ConflictError,
    InvalidInputError,
    NeighbourUnavailableError,
    NotFoundError,
)
from models.queries.uploads import _INCOMING, _TAKEN, ERRORS_SHOWN, take_part
from models.recipients import Block


def block(*addresses: str, line: int = 1, name: str = "n") -> Block:
    return Block(
        lines=list(range(line, line + len(addresses))),
        addresses=list(addresses),
        variables=[f'{{"{name}":"{address[:1]}"}}' for address in addresses],
        names=frozenset({name}),
    )


def test_duplicates_fall_within_a_part_and_among_parts(draft):
    first = draft.take(1, [block("a", "b", "a"), block("b", "c", line=4)])
    second = draft.take(2, [block("c", "d", "a", "e", name="m")])

    assert (first.body["added"], first.body["duplicates"]) == (3, 2)
    assert (second.body["added"], second.body["duplicates"]) == (2, 2)
    assert draft.rows() == [
        (0, "a", "a"),
        (1, "b", "b"),
        (2, "c", "c"),
        (3, "d", None),
        (4, "e", None),
    ]
    assert draft.counters() == (9, 5, 4, 0, ["m", "n"])


def test_the_first_row_of_an_address_gives_the_variables(draft):
    rows = Block([7, 8], ["a", "a"], ['{"n":"first"}', '{"n":"second"}'])

    draft.take(1, [rows])

    assert draft.rows() == [(0, "a", "first")]


def test_what_copy_reads_as_special_arrives_as_it_was(draft):
    odd = Block([1], ["a\\b\\N"], ['{"n":"line\\nfeed \\\\ \\"q\\" \\t ü 🎈"}'])

    draft.take(1, [odd])

    assert draft.rows() == [(0, "a\\b\\N", 'line\nfeed \\ "q" \t ü 🎈')]


def test_a_part_taken_before_is_answered_alike_and_changes_nothing(draft):
    first = draft.take(1, [block("a", "b")])

    again = draft.take(1, [block("x", "y", "z")])

    assert (first.replayed, again.replayed) == (False, True)
    assert again.body == first.body
    assert len(draft.rows()) == 2


def test_one_part_sent_many_times_at_once_counts_once(draft):
    with ThreadPoolExecutor(4) as pool:
        blocks = [block("a", "b", "a")]
        answers = list(pool.map(lambda _: draft.take(1, blocks), range(4)))

    assert sorted(answer.replayed for answer in answers) == [False, True, True, True]
    assert all(answer.body == answers[0].body for answer in answers)
    assert draft.counters()[:4] == (3, 2, 1, 0)


def test_parts_that_arrive_side_by_side_are_numbered_without_a_hole(draft):
    parts = [[block(*[f"{p}-{i}" for i in range(50)], "same")] for p in range(4)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(draft.take, range(4), parts))

    found = draft.rows()
    assert [row[0] for row in found] == list(range(201))
    assert len({row[1] for row in found}) == 201


def test_bad_rows_are_counted_and_the_first_are_named(draft):
    bad = [(line, "No address.") for line in range(1, ERRORS_SHOWN + 51)]

    body = draft.take(1, [Block(invalid=bad[:80]), Block(invalid=bad[80:])]).body

    assert (body["rows"], body["added"], body["invalid"]) == (150, 0, 150)
    assert [error["line"] for error in body["errors"]] == list(range(1, 101))


def test_a_part_that_breaks_off_leaves_nothing(draft):
    def broken() -> Iterator[Block]:
        yield block("a")
        raise InvalidInputError("Line 2 is not UTF-8.")

    with pytest.raises(InvalidInputError, match="Line 2"):
        draft.take(1, broken())

    assert draft.counters()[0] == 0
    assert draft.take(1, [block("a")]).body["added"] == 1


def test_a_row_that_postgres_refuses_is_no_failure_of_ours(draft):
    with pytest.raises(InvalidInputError):
        draft.take(1, [Block([1], ["a"], ["not JSON"])])

    assert draft.take(1, [block("a")]).body["added"] == 1


def test_postgres_going_away_during_an_upload_is_told(draft, database):
    def cut_off() -> Iterator[Block]:
        yield block("a")
        with database.statement() as connection:
            connection.exec_driver_sql(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where query like 'copy incoming%%'"
            )
        yield from (block(f"{n}-{'x' * 100}", line=n) for n in range(2, 100_000))

    with pytest.raises(NeighbourUnavailableError):
        draft.take(1, cut_off())

    assert draft.take(1, [block("a")]).body["added"] == 1


def test_only_a_draft_of_ones_own_takes_recipients(draft, database):
    with database.transaction() as connection, pytest.raises(NotFoundError):
        take_part(connection, uuid4(), draft.id, 1, [block("a")])
    with database.statement() as connection:
        connection.exec_driver_sql(
            "update batches set status = 'queued' where id = %s", (draft.id,)
        )

    with pytest.raises(ConflictError, match="queued"):
        draft.take(1, [block("a")])


def test_earlier_recipients_are_looked_up_by_their_address(draft, database):
    """Also when the statistics are older than the batch, and name none of its rows."""
    with database.statement() as connection:
        connection.exec_driver_sql(_OTHERS)
        connection.exec_driver_sql("analyze recipients")
    draft.take(1, [block("a")])

    with database.transaction() as connection:
        connection.exec_driver_sql(_INCOMING)
        asked = text(f"explain {_TAKEN.text}")
        plan = connection.execute(asked, {"batch_id": draft.id, "taken": 1})
        lines = "\n".join(row[0] for row in plan)

    assert "recipients_address_idx" in lines
    assert "recipients_pkey" not in lines


_OTHERS = """
    insert into recipients (batch_id, seq, address, variables)
    select gen_random_uuid(), 0, i || '@x.io', '{}' from generate_series(1, 5000) i
"""
