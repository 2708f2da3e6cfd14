"""Whoever watches a batch that a person must help hears so, and is not kept."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count

import pytest
from rich.console import Console

from cli import progress
from cli.api import Api
from cli.credentials import Credentials
from models.errors import BatchSenderError

HELD_UP = {
    "id": "b",
    "status": "processing",
    "reason": "NATS takes no messages: give it room on its disk.",
    "finishedAt": None,
    "recipients": 2,
    "counts": {"sent": 0},
    "live": None,
    "stations": [],
}


#: Looks until a batch that moves is over.
LOOKS = 10


@pytest.fixture
def batch_at():
    """How the batch stands at each look, by its number; a test may replace it."""
    return [lambda _: HELD_UP]


@pytest.fixture
def api(batch_at):
    """Serve one batch over real HTTP."""
    looks = count()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(batch_at[0](next(looks))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Api(Credentials(f"http://127.0.0.1:{server.server_port}", "key"))
    server.shutdown()
    server.server_close()


def test_a_batch_that_is_held_up_is_told_and_not_watched_for_ever(api, monkeypatch):
    """It goes on by itself once somebody has mended what holds it."""
    monkeypatch.setattr(progress, "_STANDSTILL_S", 0.3)

    with pytest.raises(BatchSenderError, match="room on its disk"):
        progress.follow(api, "b", Console(quiet=True))


def test_a_batch_that_moves_is_watched_on_whatever_holds_up_the_rest(
    api, batch_at, monkeypatch
):
    """A queue short of room takes the rest as soon as something is sent."""
    monkeypatch.setattr(progress, "_STANDSTILL_S", 0.2)
    monkeypatch.setattr(progress, "_POLL_S", 0.05)
    batch_at[0] = lambda look: {
        **HELD_UP,
        "counts": {"sent": look},
        "finishedAt": "2030-01-01T00:00:00Z" if look >= LOOKS else None,
    }

    batch = progress.follow(api, "b", Console(quiet=True))

    assert batch["counts"]["sent"] == LOOKS
