"""Counts and timelines are exact, however often and with whom a chunk is logged."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from analytics.event_log import ChunkEvents, EventLog
from analytics.message_index import Place, places
from analytics.reports import Rate, batch_stats, rate_by_second, timeline

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TENANT = uuid4()


def make_chunk(batch_id, no=0, size=4, *, after_s=1, **fields):
    """A chunk of `size`, queued at noon; everybody sent unless a set is given."""
    outcomes = {"sent", "failed", "unknown", "suppressed", "cancelled"}
    if not outcomes & fields.keys():
        fields["sent"] = "1" * size
    return ChunkEvents(
        batch_id=batch_id,
        tenant_id=TENANT,
        first=no * size,
        size=size,
        queued_at=NOON,
        finished_at=NOON + timedelta(seconds=after_s),
        **fields,
    )


def counts(**found):
    nobody = dict.fromkeys(
        ("queued", "sent", "failed", "unknown", "suppressed", "cancelled"), 0
    )
    return nobody | found


@pytest.fixture
def log(client):
    """The log of a fresh database."""
    return EventLog(client)


@pytest.fixture
def batch_id():
    """A batch that nobody else knows."""
    return uuid4()


def test_a_batch_nobody_logged_counts_nobody(client, batch_id):
    """A question too early is answered with zeros."""
    assert batch_stats(client, batch_id) == counts()


def test_nothing_to_log_is_nothing_written(log):
    """An idle log is not an error."""
    assert log.write([]) == 0


def test_every_outcome_is_counted_once(client, log, batch_id):
    """The five outcomes partition the chunk."""
    chunk = make_chunk(
        batch_id,
        size=7,
        sent="1100000",
        failed="0010000",
        unknown="0001000",
        suppressed="0000110",
        cancelled="0000001",
    )

    events = log.write([chunk])

    assert events == 14
    assert batch_stats(client, batch_id) == counts(
        queued=7, sent=2, failed=1, unknown=1, suppressed=2, cancelled=1
    )


def test_the_same_insert_twice_stores_its_rows_once(client, log, batch_id):
    """An insert whose answer was lost is repeated and changes nothing."""
    log.write([make_chunk(batch_id)])
    log.write([make_chunk(batch_id)])

    assert client.rows("SELECT count() FROM email_events") == [(8,)]
    assert batch_stats(client, batch_id) == counts(queued=4, sent=4)


def test_a_chunk_logged_again_in_other_company_counts_once(client, log, batch_id):
    """The ledger makes new blocks of what was not marked as logged."""
    chunks = [make_chunk(batch_id, no) for no in range(4)]

    for block in (chunks[:2], chunks[1:3], chunks[1:], chunks):
        log.write(block)

    assert batch_stats(client, batch_id) == counts(queued=16, sent=16)
    assert rate_by_second(client, batch_id) == [
        Rate(NOON, "queued", 16),
        Rate(NOON + timedelta(seconds=1), "sent", 16),
    ]


def test_unknown_gives_way_to_sent(client, log, batch_id):
    """A late fact moves the count, and the timeline keeps both."""
    log.write([make_chunk(batch_id, sent="1100", unknown="0011")])
    moved = make_chunk(batch_id, sent="1110", unknown="0001", after_s=60)

    log.write([moved])

    assert batch_stats(client, batch_id) == counts(queued=4, sent=3, unknown=1)
    found = [entry.event for entry in timeline(client, TENANT, batch_id, 2)]
    assert found == ["queued", "unknown", "sent"]


def test_an_outcome_counts_under_the_highest_it_reached(client, log, batch_id):
    """The order is that of models.status, whatever order the news came in."""
    for outcome in ("sent", "failed", "suppressed", "cancelled", "unknown"):
        steps = ["unknown", "cancelled", "suppressed", "failed", "sent"]
        size = steps.index(outcome) + 1
        log.write([make_chunk(batch_id, size=size, **{outcome: "1" * size})])

    assert batch_stats(client, batch_id) == counts(queued=5, sent=5)


def test_logging_again_keeps_the_first_time_and_the_id(client, log, batch_id):
    """The ledger empties ids once logged; a repeat must not wipe them here."""
    log.write([make_chunk(batch_id, provider_ids=["a", "b", "c", "d"])])

    log.write([make_chunk(batch_id, after_s=60)])

    _, sent = timeline(client, TENANT, batch_id, 1)
    assert (sent.event, sent.provider_message_id) == ("sent", "b")
    assert sent.occurred_at == NOON + timedelta(seconds=1)


def test_an_error_belongs_to_its_own_recipient(client, log, batch_id):
    """Errors are shown to tenants by recipient."""
    log.write(
        [make_chunk(batch_id, no=1, sent="1001", failed="0110", errors={2: "refused"})]
    )

    found = [timeline(client, TENANT, batch_id, seq)[-1] for seq in range(4, 8)]
    assert [(entry.event, entry.error) for entry in found] == [
        ("sent", ""),
        ("failed", ""),
        ("failed", "refused"),
        ("sent", ""),
    ]


def test_another_tenant_sees_no_timeline(client, log, batch_id):
    """A batch's number alone opens nothing."""
    log.write([make_chunk(batch_id)])

    assert timeline(client, uuid4(), batch_id, 0) == []


def test_a_message_is_found_by_its_providers_id(client, log, batch_id):
    """Only messages that have an id are in the index, and each at its place."""
    log.write([make_chunk(batch_id, no=2, provider_ids=["a", None, "c"])])
    log.write([make_chunk(batch_id, no=2, provider_ids=["a", None, "c"], after_s=9)])

    assert places(client, ["a", "c", "", "stranger"]) == {
        "a": Place(TENANT, batch_id, 8),
        "c": Place(TENANT, batch_id, 10),
    }


def test_a_large_batch_is_counted_exactly(client, log, batch_id):
    """200,000 recipients in overlapping blocks: exact, not estimated."""
    everybody, all_but_one = "1" * 500, "1" * 499 + "0"
    chunks = [
        make_chunk(batch_id, no, 500, sent=everybody)
        if no % 10
        else make_chunk(batch_id, no, 500, sent=all_but_one, failed="0" * 499 + "1")
        for no in range(400)
    ]

    for start in range(0, 400, 100):
        log.write(chunks[max(0, start - 20) : start + 100])

    assert batch_stats(client, batch_id) == counts(
        queued=200_000, sent=199_960, failed=40
    )
    assert sum(rate.events for rate in rate_by_second(client, batch_id)) == 400_000
