"""What the queues hold: counting it, dropping it, waiting until it is worked off."""

import asyncio
import time
from collections.abc import Callable

from dramatiq.errors import QueueJoinTimeout

from brokers.errors import ApiError
from brokers.link import Link
from brokers.shards import earlier_parts
from brokers.stored import stored_by_subject
from brokers.topology import (
    DEAD_STREAM,
    STREAM_NOT_FOUND,
    Route,
    Topology,
)

#: Messages by subject, and the last sequence of their stream.
Found = tuple[dict[str, int], int]
#: How often `join` looks, at first and at last.
JOIN_PAUSE_S = (0.01, 0.2)


class Contents:
    """The messages of all queues, as the server has them.

    Every method raises `BrokerConnectionError` when the server does not answer.

    Args:
        connected: Returns the link once the server is there.
        topology: Knows where the queues are.
    """

    def __init__(self, connected: Callable[[], Link], topology: Topology) -> None:
        self._connected = connected
        self._topology = topology

    def stored(self, queue_name: str) -> dict[str, int]:
        """Return how many messages are stored by tenant, in flight or not.

        Without tenants all are under `""`. Waiting for their time they do not count.
        """
        route = self._topology.route(queue_name)
        counts: dict[str, int] = {} if route.by_tenant else {"": 0}
        parts = self._parts(route)
        looks = [(part.stream, part.filter()) for part in parts]
        for part, (found, _) in zip(parts, self._count(looks), strict=True):
            for subject, count in found.items():
                tenant = part.tenant_of(subject)
                counts[tenant] = counts.get(tenant, 0) + count
        return counts

    def counts(self, queue_name: str) -> tuple[int, int, int]:
        """Return how many messages are ready or in flight, delayed, and dead."""
        route = self._topology.route(queue_name)
        ready, waiting = self._unfinished(route)
        ((dead, _),) = self._count([(DEAD_STREAM, route.dead)])
        return ready, waiting, sum(dead.values())

    def flush(self, queue_name: str) -> None:
        """Drop the queue's messages: ready, in flight, delayed and dead."""
        route, link = self._topology.route(queue_name), self._connected()
        parts = self._parts(route)
        for stream, subject in (
            *((part.stream, part.filter()) for part in parts),
            *((part.stream, f"{part.delayed}.>") for part in parts),
            *((part.stream, f"{part.locks}.>") for part in parts),
            (DEAD_STREAM, route.dead),
        ):
            try:
                link.run(link.api(f"STREAM.PURGE.{stream}", {"filter": subject}))
            except ApiError as error:
                if error.err_code != STREAM_NOT_FOUND:
                    raise

    def join(self, queue_name: str, timeout_s: float | None) -> None:
        """Return when the queue has no message left, delayed ones included.

        Raises:
            QueueJoinTimeout: There are still messages after the time.
        """
        route = self._topology.route(queue_name)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = JOIN_PAUSE_S[0]
        while sum(self._unfinished(route)):
            if deadline is not None and time.monotonic() > deadline:
                raise QueueJoinTimeout(queue_name)
            time.sleep(pause_s)
            pause_s = min(JOIN_PAUSE_S[1], pause_s * 1.5)

    def _unfinished(self, route: Route) -> tuple[int, int]:
        """Return the ready and the delayed messages at one and the same moment."""
        parts = self._parts(route)
        later = [(part.stream, f"{part.delayed}.>") for part in parts]
        now = [(part.stream, part.filter()) for part in parts]
        while True:
            waiting, before = _added(self._count(later))
            ready, after = _added(self._count(now))
            # Whatever moved between the two looks was published anew.
            if before == after:
                return ready, waiting

    def _parts(self, route: Route) -> list[Route]:
        """Return the route within every stream where it may have messages."""
        link = self._connected()
        earlier = link.run(earlier_parts(link, route)) if route.by_tenant else []
        return [*self._topology.parts(route.queue), *earlier]

    def _count(self, looks: list[tuple[str, str]]) -> list[Found]:
        """Return for each stream and filter what is stored, and the last sequence."""
        link = self._connected()

        async def counted() -> list[Found]:
            return await asyncio.gather(*(_look(link, *one) for one in looks))

        return link.run(counted(), timeout_s=30.0)


async def _look(link: Link, stream: str, subjects: str) -> Found:
    try:
        return await stored_by_subject(link, stream, subjects)
    except ApiError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise
        return {}, 0


def _added(found: list[Found]) -> tuple[int, list[int]]:
    """Return the number of messages, and how far each stream has come."""
    count = sum(sum(subjects.values()) for subjects, _ in found)
    return count, [last for _, last in found]
