"""The making of streams and consumers, as the queues' routes need them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from brokers.errors import ApiError, RefusedError
from brokers.link import Link
from brokers.routes import Route, check_priority, escaped

#: JetStream's numbers for *no such stream* and *no such consumer*.
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
#: JetStream's number for a consumer that exists and cannot be made like this.
NOT_CHANGEABLE = 10012
#: JetStream's numbers for *another message is, or is about to be, the last here*.
WRONG_REVISION = (10071, 10164)
#: The stream of dead letters; shared by all queues.
DEAD_STREAM = "dead-letters"
#: The stream of marks by which crashes are counted, shared by all queues; and for how
#: long a mark is kept.
CRASH_STREAM = "crashes"
CRASH_DAYS = 7
#: A tenant's consumer is gone after this long without a pull.
IDLE_TENANT_S = 3600


@dataclass(frozen=True, slots=True)
class Settings:
    """What all streams and consumers of one broker have in common.

    Attributes:
        namespace: The stream of the queues without a route.
        replicas: On how many servers each stream is kept.
        ack_wait_s: After this long without a sign of life a message is delivered
            again.
        duplicate_window_s: For how long the server knows a message id.
        idle_tenant_s: A tenant's consumer is gone after this long without a pull.
        max_priority: The classes of the queues without a route, as a route's.
    """

    namespace: str
    replicas: int
    ack_wait_s: float
    duplicate_window_s: float
    idle_tenant_s: float = IDLE_TENANT_S
    max_priority: int | None = None

    def __post_init__(self) -> None:
        """Refuse too many classes.

        Raises:
            ValueError: There are too many.
        """
        check_priority(self.max_priority)


#: The streams that are no queues.
_NO_QUEUES: dict[str, dict[str, Any]] = {
    CRASH_STREAM: {
        "subjects": ["crashes.>"],
        "retention": "limits",
        "discard": "old",
        "max_age": CRASH_DAYS * 86_400 * 10**9,
    },
    DEAD_STREAM: {
        "subjects": ["dead.>"],
        "retention": "limits",
        "discard": "old",
        # Each letter has its own time, which may be longer than another's.
        "max_age": 0,
        "allow_msg_ttl": True,
        "allow_direct": True,
    },
}


class Topology:
    """Knows where everything is, and makes what is missing."""

    def __init__(self, settings: Settings, routes: Iterable[Route]) -> None:
        self.settings = settings
        self._routes = {route.queue: route for route in routes}
        self._parts: dict[str, tuple[Route, ...]] = {}
        self._ready: set[str] = set()

    def route(self, queue: str) -> Route:
        """Return the queue's route; one in the namespace's stream by default."""
        route = self._routes.get(queue)
        if route is None:
            name = self.settings.namespace
            route = Route(
                queue,
                name,
                f"{name}.q.{escaped(queue)}",
                max_priority=self.settings.max_priority,
            )
            self._routes[queue] = route
        return route

    def parts(self, queue: str) -> tuple[Route, ...]:
        """Return the queue's route within each shard; see `Route.parts`."""
        parts = self._parts.get(queue)
        if parts is None:
            parts = self._parts[queue] = self.route(queue).parts()
        return parts

    @property
    def streams(self) -> set[str]:
        """Return the streams of all queues known so far."""
        return {self.settings.namespace, *(part.stream for part in self._all_parts())}

    def is_ready(self, stream: str) -> bool:
        """Tell whether the stream was made or found; it may be gone by now."""
        return stream in self._ready

    async def ensure_stream(self, link: Link, stream: str) -> None:
        """Make the stream, or give an existing one what it lacks.

        Raises:
            RefusedError: There is one that cannot serve as a queue.
            ApiError: JetStream refused for another reason.
            UnavailableError: JetStream did not answer.
        """
        wanted = self._stream_config(stream)
        try:
            found = await link.api(f"STREAM.INFO.{stream}")
        except ApiError as error:
            if error.err_code != STREAM_NOT_FOUND:
                raise
            await link.api(f"STREAM.CREATE.{stream}", wanted)
        else:
            if merged := _merged(found["config"], wanted):
                await link.api(f"STREAM.UPDATE.{stream}", merged)
        self._ready.add(stream)

    async def ensure_consumer(
        self, link: Link, route: Route, tenant: str = "", *, cap: int | None = None
    ) -> None:
        """Make the queue's or the tenant's consumer, and its stream if need be.

        Args:
            link: The connection.
            route: The queue's route, within one shard.
            tenant: Whose consumer, in a queue by tenant.
            cap: The most messages in flight at once; changed where there is one.

        Raises:
            ApiError: JetStream refused.
            UnavailableError: JetStream did not answer.
        """
        name = route.consumer_name(tenant)
        config = self._consumer_config(route, tenant, name)
        if cap:
            config["max_ack_pending"] = cap
        body = {"stream_name": route.stream, "config": config, "action": ""}
        subject = f"CONSUMER.CREATE.{route.stream}.{name}.{route.filter(tenant)}"
        try:
            await link.api(subject, body)
        except ApiError as error:
            if error.err_code == STREAM_NOT_FOUND:
                await self.ensure_stream(link, route.stream)
            elif error.err_code == NOT_CHANGEABLE and tenant:
                # It was made for fewer replicas. It keeps its storage, and grows with
                # its stream; the tenant's next one is as it should be.
                config["mem_storage"] = not config["mem_storage"]
            else:
                raise
            await link.api(subject, body)

    def _stream_config(self, stream: str) -> dict[str, Any]:
        common = {
            "name": stream,
            "storage": "file",
            "num_replicas": self.settings.replicas,
        }
        if stream in _NO_QUEUES:
            return common | _NO_QUEUES[stream]
        parts = [part for part in self._all_parts() if part.stream == stream]
        if any(part.by_tenant for part in parts):
            common["republish"] = {
                "src": ">",
                "dest": f"wake.{stream}.>",
                "headers_only": True,
            }
        return common | {
            "subjects": self._subjects(stream),
            "retention": "workqueue",
            # The server refuses schedules where new messages may be discarded. There
            # is no limit on the stream, so that nothing is ever discarded.
            "discard": "old",
            "duplicate_window": int(self.settings.duplicate_window_s * 1e9),
            "max_consumers": 20_000,
            "allow_atomic": True,
            "allow_batched": True,
            "allow_msg_ttl": True,
            "allow_msg_schedules": True,
        }

    def _subjects(self, stream: str) -> list[str]:
        subjects = {f"delayed.{stream}.>", f"unique.{stream}.>"}
        if stream == self.settings.namespace:
            subjects.add(f"{stream}.q.>")
        for part in self._all_parts():
            if part.stream == stream != self.settings.namespace:
                subjects.update(one.filter() for one in part.classes)
        return sorted(subjects)

    def _all_parts(self) -> list[Route]:
        # A copy: other threads add routes.
        return [part for queue in list(self._routes) for part in self.parts(queue)]

    def _consumer_config(self, route: Route, tenant: str, name: str) -> dict[str, Any]:
        config = {
            "durable_name": name,
            "filter_subject": route.filter(tenant),
            "ack_policy": "explicit",
            "deliver_policy": "all",
            "ack_wait": int(self.settings.ack_wait_s * 1e9),
            "max_deliver": -1,
            # Postponed messages hold their place; the prefetch is the limit.
            "max_ack_pending": -1,
        }
        if tenant:
            # Thousands of consumers in files would delay a server's stop for long.
            config["mem_storage"] = self.settings.replicas == 1
            config["inactive_threshold"] = int(self.settings.idle_tenant_s * 1e9)
        return config


def _merged(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any] | None:
    """Return the configuration that serves both; none where nothing is lacking."""
    if found["retention"] != wanted["retention"]:
        raise RefusedError(
            f"The stream {wanted['name']} exists with {found['retention']} retention; "
            f"it needs {wanted['retention']}."
        )
    needed: dict[str, Any] = {
        key: True
        for key in (
            "allow_atomic",
            "allow_batched",
            "allow_direct",
            "allow_msg_schedules",
            "allow_msg_ttl",
        )
        if wanted.get(key) and not found.get(key)
    }
    # Never fewer: another program may want them.
    if wanted["num_replicas"] > found.get("num_replicas", 1):
        needed["num_replicas"] = wanted["num_replicas"]
    subjects = found.get("subjects") or []
    lacking = [one for one in wanted["subjects"] if one not in subjects]
    if lacking:
        needed["subjects"] = subjects + lacking
    if wanted.get("republish") and not found.get("republish"):
        needed["republish"] = wanted["republish"]
    if wanted.get("max_age") == 0 != found.get("max_age", 0):
        needed["max_age"] = 0
    if wanted.get("duplicate_window", 0) > found.get("duplicate_window", 0):
        needed["duplicate_window"] = wanted["duplicate_window"]
    return found | needed if needed else None
