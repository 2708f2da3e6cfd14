"""What the suites of the broker's contract need of whoever is tested.

The same tests run on our broker and on Dramatiq's own. What Dramatiq's do not fulfil
is said by name, so that the many other tests show that the suites are fair.
"""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Protocol

from dramatiq import Broker, Message


class Backend(Protocol):
    """One test's queues on one implementation.

    Attributes:
        queue: A queue that no other test uses.
    """

    queue: str

    def broker(self, *middleware, lease_ms=60_000) -> Broker:
        """Return a fresh broker; all of a test's brokers share their queues."""

    def peer(self, broker) -> Broker:
        """Return the broker of another process, as far as there can be one."""

    def unreachable(self) -> Broker:
        """Return a broker whose server is not there."""

    def put(self, broker, body: bytes) -> None:
        """Store bytes that did not come from `enqueue`."""

    def size(self, broker, queue=None) -> int:
        """Return how many messages are stored: ready, delayed and in flight."""

    def letters(self, broker) -> list[Message]:
        """Return the queue's dead letters that are messages."""

    def dead(self, broker) -> int:
        """Return how many dead letters the queue has."""

    def vanish(self, broker) -> None:
        """Make the server lose the queue and all that belongs to it."""

    def stop(self) -> None:
        """Kill the server."""

    def start(self) -> None:
        """Start the server on the data that it had."""


class Contract:
    """A suite; a subclass says which of its tests it lacks, and why."""

    NOTHING: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init_subclass__(cls, lacks: Mapping[str, str] = NOTHING) -> None:
        """Take out what is lacking."""
        super().__init_subclass__()
        for name in lacks:
            # A name that is no test would raise here.
            getattr(cls, name)
            setattr(cls, name, None)


def job(queue, n=0, actor="note", **options):
    return Message(queue, actor, (n,), {}, options)


def taken(consumer, count=1, *, within_s=10.0):
    """Return the next messages of a consumer, waiting for them."""
    found, deadline = [], time.monotonic() + within_s
    while len(found) < count:
        assert time.monotonic() < deadline, f"Only {len(found)} of {count} came."
        message = next(consumer)
        if message is not None:
            found.append(message)
    return found


def until(condition, *, within_s=20.0):
    """Return what the condition returns once it is true."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.01)
    return found
