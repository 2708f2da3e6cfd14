"""Workers for the contract's suites."""

import itertools

import dramatiq
import pytest
from dramatiq import JSONEncoder, Worker

from tests.contracts.broker import job

pytest.register_assert_rewrite(
    "tests.contracts.enqueueing",
    "tests.contracts.delaying",
    "tests.contracts.consuming",
    "tests.contracts.settling",
    "tests.contracts.working",
    "tests.contracts.applying",
)

_numbers = itertools.count()


@pytest.fixture
def encoder():
    """Dramatiq's own; a suite may use another one."""
    return JSONEncoder()


@pytest.fixture(autouse=True)
def _encoded(encoder):
    before = dramatiq.get_encoder()
    dramatiq.set_encoder(encoder)
    yield
    dramatiq.set_encoder(before)


@pytest.fixture
def queue():
    """A queue's name that no other test uses."""
    return f"q{next(_numbers)}"


@pytest.fixture
def work():
    """Start a worker on a broker; it is stopped with the test."""
    workers = []

    def start(broker, *, threads=2, delay_prefetch=None):
        worker = Worker(broker, worker_threads=threads, worker_timeout=100)
        worker.delay_prefetch = delay_prefetch or worker.delay_prefetch
        worker.start()
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.stop(timeout=5000)


@pytest.fixture
def send(backend):
    """Enqueue a numbered message for the actor `note`."""

    def enqueue(broker, n=0, *, delay=None, **options):
        return broker.enqueue(job(backend.queue, n, **options), delay=delay)

    return enqueue
