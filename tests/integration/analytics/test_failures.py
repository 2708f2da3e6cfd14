"""What happens when ClickHouse is away, killed, or refuses."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from analytics.client import connect
from analytics.event_log import ChunkEvents, EventLog
from analytics.migrations import migrate
from analytics.reports import batch_stats
from models.errors import BatchSenderError, NeighbourUnavailableError

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def make_chunks(batch_id, numbers):
    """Chunks of 500 in which everybody was sent."""
    return [
        ChunkEvents(batch_id, uuid4(), no * 500, 500, NOON, NOON, sent="1" * 500)
        for no in numbers
    ]


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(own_server):
    """What was written stays; what failed is written again and counts once."""
    client = connect(own_server.url, timeout_s=20)
    migrate(client)
    log, batch_id = EventLog(client), uuid4()
    log.write(make_chunks(batch_id, range(10)))

    own_server.kill()
    with pytest.raises(NeighbourUnavailableError):
        log.write(make_chunks(batch_id, range(10, 20)))
    own_server.start()
    log.write(make_chunks(batch_id, range(8, 20)))

    stats = batch_stats(client, batch_id)
    assert (stats["queued"], stats["sent"]) == (10_000, 10_000)


def test_a_server_that_is_away_is_a_neighbour_unavailable():
    """Connecting is not what fails; the first use is, and it can be repeated."""
    client = connect("http://user:secret@127.0.0.1:9/nowhere", timeout_s=2)

    with pytest.raises(NeighbourUnavailableError) as raised:
        batch_stats(client, uuid4())

    assert "127.0.0.1" not in str(raised.value)


def test_a_wrong_password_is_told_without_the_password(clickhouse_url):
    """Waiting would not help, so it is not a neighbour unavailable."""
    _, _, server = clickhouse_url.rpartition("@")
    client = connect(f"http://batchsender:wrong-secret@{server}", timeout_s=20)

    with pytest.raises(BatchSenderError, match="CLICKHOUSE_URL") as raised:
        batch_stats(client, uuid4())

    assert not isinstance(raised.value, NeighbourUnavailableError)
    assert "wrong-secret" not in str(raised.value)


def test_a_missing_table_is_not_taken_for_an_outage(fresh_url):
    """Who forgot to migrate is told so."""
    client = connect(fresh_url, timeout_s=20)

    with pytest.raises(BatchSenderError, match="migrations") as raised:
        batch_stats(client, uuid4())

    assert not isinstance(raised.value, NeighbourUnavailableError)
