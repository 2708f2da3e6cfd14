"""An endpoint that does as a test says, and a real sink process."""

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
import requests

from embedded.sink_ledger import SinkLedger, read


@dataclass
class Visit:
    """One connection to an endpoint, as its script sees it."""

    connection: socket.socket
    over: threading.Event
    requests: list[bytes]

    def take(self) -> bytes:
        """Return the next whole request, or nothing when the client is gone."""
        found = b""
        while b"\r\n\r\n" not in found or not _is_whole(found):
            try:
                more = self.connection.recv(65536)
            except OSError:
                return b""
            if not more:
                return b""
            found += more
        self.requests.append(found)
        return found

    def say(self, data: bytes) -> None:
        """Send these bytes."""
        self.connection.sendall(data)

    def reset(self) -> None:
        """Close so that the client sees a reset."""
        linger = b"\1\0\0\0\0\0\0\0"
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()


def _is_whole(found: bytes) -> bool:
    head, _, body = found.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return len(body) >= int(length[1] if length else 0)


Script = Callable[[Visit], None]


@dataclass
class Endpoint:
    """A server whose every connection is led by a script."""

    script: Script
    listener: socket.socket
    over: threading.Event = field(default_factory=threading.Event)
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    closed: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Return where it is posted to."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/in?a=1"

    def serve(self) -> None:
        """Lead each connection in a thread, until the listener is closed."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._lead, args=(connection,), daemon=True).start()

    def _lead(self, connection: socket.socket) -> None:
        with connection:
            try:
                self.script(Visit(connection, self.over, self.requests))
            except OSError:
                return  # The client has gone, as many tests want it to.
        self.closed.set()


@pytest.fixture
def endpoint() -> Iterator[Callable[[Script], Endpoint]]:
    """Return a function that starts an endpoint with a script."""
    started: list[Endpoint] = []

    def start(script: Script) -> Endpoint:
        found = Endpoint(script, socket.create_server(("127.0.0.1", 0)))
        threading.Thread(target=found.serve, daemon=True).start()
        started.append(found)
        return found

    yield start
    for found in started:
        found.over.set()
        found.listener.shutdown(socket.SHUT_RDWR)
        found.listener.close()


@dataclass
class RunningSink:
    """A sink process and its ledger."""

    process: subprocess.Popen
    url: str
    ledger_file: Path

    @property
    def ledger(self) -> SinkLedger:
        """Return what the sink has written so far."""
        return read(self.ledger_file)

    def control(self, **wanted) -> None:
        """Make the sink misbehave."""
        body = orjson.dumps(wanted)
        assert requests.post(f"{self.url}control", body, timeout=5).status_code == 204

    def stats(self) -> dict:
        """Return the sink's own counts."""
        return requests.get(f"{self.url}stats", timeout=5).json()

    def kill(self) -> None:
        """End the sink as a crash does."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start_sink(tmp_path) -> Iterator[Callable[..., RunningSink]]:
    """Return a function that starts a sink with options; all share one ledger."""
    started: list[RunningSink] = []
    ledger_file = tmp_path / "sink.ndjson"

    def start(*options: str) -> RunningSink:
        command = [sys.executable, "-u", "-m", "embedded.sink", "--ledger", ledger_file]
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, text=True
        )
        address = re.search(r"http\S+", process.stdout.readline())[0]
        started.append(RunningSink(process, address, ledger_file))
        return started[-1]

    yield start
    for found in started:
        if found.process.poll() is None:
            found.process.send_signal(signal.SIGTERM)
            assert found.process.wait(10) == 0
        found.process.stdout.close()
