"""A real NATS server for each test module, and brokers that talk to it."""

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import dramatiq
import pytest
from dramatiq import Worker

from brokers import JetStreamBroker
from brokers.encoding import ENCODER


class Server:
    """A nats-server that can be killed and started again on the same data."""

    def __init__(self, folder, config=""):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._config = folder / "server.conf"
        self._config.write_text(config)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        self.folder.mkdir(exist_ok=True)
        binary = Path(sys.executable).with_name("nats-server")
        command = str(binary) if binary.exists() else shutil.which("nats-server")
        self.process = subprocess.Popen(
            [
                *(command, "-js", "-a", "127.0.0.1", "-p", str(self.port)),
                *("-sd", str(self.folder), "-l", str(self.folder / "log")),
                *("-c", str(self._config)),
            ]
        )
        until(self._answers)

    def _answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self):
        self.process.kill()
        self.process.wait()


def until(condition, *, within_s=20.0):
    """Return what the condition returns once it is true."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.01)
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def make_server(tmp_path):
    """Start a server that holds nothing of anybody else's; return its URL."""
    made = []

    def make():
        server = Server(tmp_path / f"nats-{len(made)}")
        made.append(server)
        server.start()
        return server.url

    yield make
    for server in made:
        server.kill()


@pytest.fixture
def make_broker(server):
    made = []

    def make(**options):
        options.setdefault("middleware", [])
        options.setdefault("namespace", f"test-{time.time_ns()}")
        broker = JetStreamBroker(server.url, **options)
        made.append(broker)
        return broker

    dramatiq.set_encoder(ENCODER)
    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def broker(make_broker):
    return make_broker()


@pytest.fixture
def work():
    """Start a worker on a broker; it is stopped with the test."""
    workers = []

    def start(broker, *, threads=4, **options):
        worker = Worker(broker, worker_threads=threads, worker_timeout=100, **options)
        worker.start()
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.stop(timeout=5000)
