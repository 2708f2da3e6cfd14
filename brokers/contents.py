"""What the queues hold: counting it, dropping it, waiting until it is worked off."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from dramatiq.errors import QueueJoinTimeout

from brokers.errors import ApiError
from brokers.link import Link
from brokers.routes import Route
from brokers.shards import earlier_parts
from brokers.stored import count_subjects, stored_by_subject
from brokers.topology import CONSUMER_NOT_FOUND, DEAD_STREAM, STREAM_NOT_FOUND, Topology

T = TypeVar("T")
#: Answers with what it found, and the stream's last sequence.
Question = Callable[..., Coroutine[Any, Any, tuple[T, int]]]
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
        units = _units(self._parts(route))
        looks = [(one.stream, one.filter()) for one in units]
        for one, (found, _) in zip(units, self._count(looks), strict=True):
            for subject, count in found.items():
                tenant = one.tenant_of(subject)
                counts[tenant] = counts.get(tenant, 0) + count
        return counts

    def counts(self, queue_name: str) -> tuple[int, int, int]:
        """Return how many messages are ready or in flight, delayed, and dead."""
        route = self._topology.route(queue_name)
        ready, waiting, _ = self._unfinished(route)
        ((dead, _),) = self._count([(DEAD_STREAM, route.dead)])
        return ready, waiting, sum(dead.values())

    def flush(self, queue_name: str) -> None:
        """Drop the queue's messages: ready, in flight, delayed and dead."""
        route, link = self._topology.route(queue_name), self._connected()
        parts = self._parts(route)
        for stream, subject in (
            *((one.stream, one.filter()) for one in _units(parts)),
            *((part.stream, part.all_delayed) for part in parts),
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
        while not self._is_empty(route):
            if deadline is not None and time.monotonic() > deadline:
                raise QueueJoinTimeout(queue_name)
            time.sleep(pause_s)
            pause_s = min(JOIN_PAUSE_S[1], pause_s * 1.5)

    def _is_empty(self, route: Route) -> bool:
        ready, waiting, at_once = self._unfinished(route)
        return not (ready or waiting) and (at_once or self._stays_empty(route))

    def _stays_empty(self, route: Route) -> bool:
        """Tell whether the queue is empty while others in its stream are busy.

        Where nothing is in hand, and nothing was handed out meanwhile, nobody can have
        put a message from the one place that we looked at into the other.
        """
        if route.by_tenant:
            return False
        before = self._handed_out(route)
        found = [sum(self._unfinished(route)[:2]) for _ in range(2)]
        return not any(found) and self._handed_out(route) == before

    def _handed_out(self, route: Route) -> int:
        return sum(self._handed_out_of(one) for one in route.classes)

    def _handed_out_of(self, route: Route) -> int:
        link = self._connected()
        name = f"{route.stream}.{route.consumer_name()}"
        try:
            answer = link.run(link.api(f"CONSUMER.INFO.{name}"))
        except ApiError as error:
            if error.err_code not in (STREAM_NOT_FOUND, CONSUMER_NOT_FOUND):
                raise
            return 0
        return int(answer["delivered"]["consumer_seq"])

    def _unfinished(self, route: Route) -> tuple[int, int, bool]:
        """Return the ready and the delayed messages, and if both at one moment."""
        parts = self._parts(route)
        later = [(part.stream, part.all_delayed) for part in parts]
        now = [(one.stream, one.filter()) for one in _units(parts)]
        # Each delayed message has a subject of its own.
        waiting = self._ask(0, count_subjects, later)
        ready = self._count(now)
        # Whatever moved between the two looks was published anew.
        at_once = _lasts(later, waiting) == _lasts(now, ready)
        return (
            sum(sum(subjects.values()) for subjects, _ in ready),
            sum(count for count, _ in waiting),
            at_once,
        )

    def _parts(self, route: Route) -> list[Route]:
        """Return the route within every stream where it may have messages."""
        link = self._connected()
        earlier = link.run(earlier_parts(link, route)) if route.by_tenant else []
        return [*self._topology.parts(route.queue), *earlier]

    def _count(self, places: list[tuple[str, str]]) -> list[tuple[dict[str, int], int]]:
        return self._ask({}, stored_by_subject, places)

    def _ask(
        self, nothing: T, question: Question[T], places: list[tuple[str, str]]
    ) -> list[tuple[T, int]]:
        """Ask for each stream and filter; `nothing` where there is no such stream."""
        link = self._connected()

        async def answer(stream: str, subjects: str) -> tuple[T, int]:
            try:
                return await question(link, stream, subjects)
            except ApiError as error:
                if error.err_code != STREAM_NOT_FOUND:
                    raise
                return nothing, 0

        async def answers() -> list[tuple[T, int]]:
            return await asyncio.gather(*(answer(*place) for place in places))

        return link.run(answers(), timeout_s=30.0)


def _units(parts: list[Route]) -> list[Route]:
    """Return the priority classes of all parts."""
    return [one for part in parts for one in part.classes]


def _lasts(
    places: list[tuple[str, str]], answers: list[tuple[Any, int]]
) -> set[tuple[str, int]]:
    """Return the last sequences of each stream, one where nothing came meanwhile."""
    asked = zip(places, answers, strict=True)
    return {(stream, last) for (stream, _), (_, last) in asked}
