"""`/metrics` and `/health` of a process, on a port of their own.

All processes of one service listen on the same port, and whichever is asked answers
for all: they count into files of one directory (docs/decisions/0047). So a process
that dies takes nothing along, and nobody has to know how many there are.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import mark_process_dead

from brokers.metrics import served
from telemetry import METRICS, POOL_IN_USE, POOL_SIZE

log = logging.getLogger("batchsender.metrics")

#: Seconds between two samples of what is not counted but looked at.
SAMPLE_S = 5.0


class Pooled(Protocol):
    """What has a pool of connections, as `models.database.Database` does."""

    @property
    def pool_size(self) -> int:
        """How many connections a pool may have."""

    def most_in_use(self) -> int:
        """Return the most that were in use at once since this was last asked."""


def serve(
    host: str,
    port: int,
    *,
    registry: CollectorRegistry | None = None,
    samples: Sequence[Callable[[], None]] = (),
) -> None:
    """Serve the page until the process ends; port 0 serves nothing.

    Fails open: a port that is taken is logged, and the process works unwatched.

    Args:
        host: The address to listen on; no Ingress may lead to it.
        port: Shared by the processes of one service, and by nobody else.
        registry: What to serve; that of all processes of this service when None.
        samples: Called every `SAMPLE_S` seconds; they set gauges.
    """
    if not port:
        return
    try:
        page = _Page(host, port, registry or served(METRICS))
    except OSError as error:
        log.error("No metrics on %s:%s (%s).", host, port, error.strerror)  # noqa: TRY400 - there is no more to tell
        return
    threading.Thread(target=page.serve_forever, name="metrics", daemon=True).start()
    if samples:
        _Sampler(samples).start()


def pool_sample(database: Pooled) -> Callable[[], None]:
    """Return what samples a database's pools."""

    def sample() -> None:
        POOL_SIZE.set(database.pool_size)
        POOL_IN_USE.set(database.most_in_use())

    return sample


class _Sampler(threading.Thread):
    def __init__(self, samples: Sequence[Callable[[], None]]) -> None:
        super().__init__(name="samples", daemon=True)
        self._samples = samples
        self._never = threading.Event()

    def run(self) -> None:
        for sample in self._samples:
            sample()
        while not self._never.wait(SAMPLE_S):
            for sample in self._samples:
                sample()


class _Page(ThreadingHTTPServer):
    allow_reuse_port = True
    daemon_threads = True

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        super().__init__((host, port), _Answer)
        self.registry = registry

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the library's signature
        log.info("A scrape was broken off.")


class _Answer(BaseHTTPRequestHandler):
    server: _Page
    timeout = 10

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            forget_dead_processes()
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._send(HTTPStatus.OK, encode(self.server.registry), content_type)
        elif path == "/health":
            self._send(HTTPStatus.OK, b"ok\n", "text/plain")
        else:
            self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")

    def log_message(self, *_: object) -> None:
        """Keep quiet: a scrape is no news."""

    def _send(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def forget_dead_processes() -> None:
    """Drop the gauges of processes that are gone; what they counted stays."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return
    for file in Path(folder).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not _lives(pid):
            mark_process_dead(pid)  # type: ignore[no-untyped-call]  # The library's.


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
