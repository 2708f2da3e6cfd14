"""How chunks become rows, and when they are worth an insert."""

from datetime import UTC, datetime
from itertools import combinations
from uuid import uuid4

import pytest

from analytics.event_log import Buffer, ChunkEvents, intake_rows, token_of

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def make_chunk(size=4, **fields):
    return ChunkEvents(
        batch_id=fields.pop("batch_id", uuid4()),
        tenant_id=fields.pop("tenant_id", uuid4()),
        first=fields.pop("first", 0),
        size=size,
        queued_at=NOON,
        finished_at=NOON,
        **fields,
    )


def test_a_chunk_in_which_everybody_was_sent_is_two_rows():
    """The usual case costs as little as can be."""
    rows = intake_rows([make_chunk(size=4, first=8, sent="1111")])

    assert [row[2:6] for row in rows] == [("queued", 8, 4, ""), ("sent", 8, 4, "")]


def test_ids_and_errors_are_those_of_the_members_in_order():
    """An id or error never moves to a neighbour."""
    chunk = make_chunk(
        size=6,
        sent="110010",
        failed="001000",
        unknown="000101",
        provider_ids=["a", None, "no", None, "e"],
        errors={2: "no such mailbox", 5: "time-out"},
    )

    rows = intake_rows([chunk])

    found = {row.event: (row.members, *row[-2:]) for row in rows}
    assert found == {
        "queued": ("", "", ""),
        "sent": ("110010", "a\x1f\x1fe", ""),
        "failed": ("001000", "", "no such mailbox"),
        "unknown": ("000101", "", "\x1ftime-out"),
    }


def test_a_text_that_holds_the_separator_shifts_nobody():
    """A provider's text may hold anything."""
    chunk = make_chunk(size=2, failed="11", errors={0: "odd\x1ftext", 1: "plain"})

    failed, _ = intake_rows([chunk])

    assert failed.errors == "odd text\x1fplain"


def test_the_token_names_the_content_and_not_its_order():
    """The same chunks are the same insert; any other content is another."""
    one, two = make_chunk(sent="1111"), make_chunk(sent="1111", first=4)
    moved = make_chunk(sent="1101", batch_id=one.batch_id, tenant_id=one.tenant_id)

    contents = [(one, two), (one,), (moved,), (two, one)]
    *tokens, repeated = [token_of(intake_rows(content)) for content in contents]

    assert repeated == tokens[0]
    assert all(a != b for a, b in combinations(tokens, 2))


@pytest.mark.parametrize(
    ("recipients", "oldest_s", "due"),
    [
        (9_999, 4.9, False),
        (10_000, 0.0, True),
        (1, 5.0, True),
        (0, 60.0, False),
    ],
)
def test_an_insert_is_due_when_many_or_long_wait(recipients, oldest_s, due):
    """10,000 recipients or 5 s, and never for nobody."""
    assert Buffer().due(recipients, oldest_s) is due
