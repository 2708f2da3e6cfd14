"""What happens when ClickHouse is away, killed, or refuses."""

import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import uuid4

import pytest

from analytics.client import connect
from analytics.event_log import ChunkEvents, EventLog
from analytics.migrations import migrate
from analytics.reports import batch_stats
from models.errors import BatchSenderError, NeighbourUnavailableError

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TENANT = uuid4()


def make_chunks(batch_id, numbers):
    """Chunks of 500 in which everybody was sent."""
    return [
        ChunkEvents(batch_id, TENANT, no * 500, 500, NOON, NOON, sent="1" * 500)
        for no in numbers
    ]


class Refusal(BaseHTTPRequestHandler):
    """Answers everything with an error, as a proxy or an overloaded server does."""

    def do_POST(self):
        """Refuse."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Be quiet."""


@pytest.fixture
def refusing_server():
    """A server whose `status` and `headers` a test sets."""
    server = HTTPServer(("127.0.0.1", 0), Refusal)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (502, {}),
        (503, {}),
        (500, {"X-ClickHouse-Exception-Code": "241"}),
        (500, {"X-ClickHouse-Exception-Code": "252"}),
    ],
)
def test_a_server_that_has_no_room_is_a_neighbour_unavailable(
    refusing_server, status, headers
):
    """A proxy without a server, no memory, too many parts: later it may work."""
    refusing_server.status, refusing_server.headers = status, headers
    client = connect(f"http://127.0.0.1:{refusing_server.server_port}/any", timeout_s=5)

    with pytest.raises(NeighbourUnavailableError):
        EventLog(client).write(make_chunks(uuid4(), [0]))


def test_a_table_that_takes_nothing_fails_the_insert(client):
    """Rows lost behind the intake would never be asked for again."""
    client.command("ALTER TABLE email_events ADD CONSTRAINT full CHECK seq < 500")
    log, batch_id = EventLog(client), uuid4()

    with pytest.raises(BatchSenderError):
        log.write(make_chunks(batch_id, range(2)))
    client.command("ALTER TABLE email_events DROP CONSTRAINT full")
    log.write(make_chunks(batch_id, range(2)))

    assert client.rows("SELECT count() FROM email_events") == [(2_000,)]
    assert batch_stats(client, batch_id)["sent"] == 1_000


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
