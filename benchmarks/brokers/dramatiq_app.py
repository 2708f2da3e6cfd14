"""The same two actors on each of Dramatiq's brokers, all with orjson."""

import os
from collections.abc import Callable, Sequence

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from benchmarks.brokers.marks import of_this_process
from brokers import JetStreamBroker, calls
from brokers.encoding import ENCODER

_MAKERS: dict[str, Callable[[str], dramatiq.Broker]] = {
    "nats": JetStreamBroker,
    "redis": lambda url: RedisBroker(url=url),
    "rabbitmq": lambda url: RabbitmqBroker(url=url),
}

dramatiq.set_encoder(ENCODER)
broker = _MAKERS[os.environ["BENCH_BROKER"]](os.environ["BENCH_URL"])
dramatiq.set_broker(broker)
_marks = of_this_process()


@dramatiq.actor
def noop(job: int) -> None:
    """Do nothing but be counted."""
    _marks.done(job)


@dramatiq.actor
def stamp(job: int, sent_at: float) -> None:
    """Note how late it is."""
    _marks.begun(job, sent_at)


def enqueue(job: int) -> None:
    """Put one job into the queue, and return once the broker has it."""
    noop.send(job)


def enqueue_stamp(job: int, sent_at: float) -> None:
    """Put one job into the queue that notes how late it is."""
    stamp.send(job, sent_at)


def enqueue_all(jobs: Sequence[int]) -> None:
    """Put many jobs into the queue as fast as the broker's interface allows."""
    if isinstance(broker, JetStreamBroker):
        broker.enqueue_many(calls(noop, ((job,) for job in jobs)))
    else:
        for job in jobs:
            noop.send(job)
