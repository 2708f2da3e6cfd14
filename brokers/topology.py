"""Which stream, subject and consumer a queue or a tenant has, and their making."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from brokers.errors import ApiError, RefusedError
from brokers.link import Link
from brokers.tenants import Policy

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

_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_FIELD = re.compile(r"\{(\w+)\}")
#: The highest priority that there is.
MAX_PRIORITY = 9


@dataclass(frozen=True, slots=True)
class Route:
    """A queue that has its own stream and subject.

    `{name}` in a subject that is published to is filled from the message's options,
    as one token of letters, digits, `_` and `-`. A `{tenant}` in `subject` gives each
    tenant a consumer of its own.

    With `shards` above 1 the tenants are spread over the streams `<stream>-0`,
    `<stream>-1` and so on, by `crc32(tenant) % shards`. Each has its own name in front
    of its subjects, such as `jobs-3.tenant.42`, so that no two overlap. What lies in
    the streams of an earlier number of shards is still consumed and counted.

    Attributes:
        queue: The queue.
        stream: The stream; several routes may share one.
        subject: What is published to, and consumed.
        consumer: The durable consumer's name, with `{tenant}` where there is one.
        max_in_flight: At most so many messages at once in one process, below
            its prefetch; 0 leaves it to the prefetch.
        job_patience_s: A job that has not moved for so long may be given to another
            worker; none trusts it as long as its process lives.
        consumer_filter: What is consumed, where that is more than `subject`.
        publish_subject: What is published to, where that is less than `subject`.
        max_priority: Messages have classes from 0 to this, at most 9, the higher ones
            first; none means one class. Only for a queue of one subject.
        tenants: Says what a tenant is given, and is asked anew every few seconds;
            none treats all alike.
        shards: Over how many streams the tenants are spread. All that publish or
            consume must be given the same number.

    Raises:
        ValueError: There are shards and no tenants, or fewer than one; or classes
            where they cannot be.
    """

    queue: str
    stream: str
    subject: str
    consumer: str = ""
    max_in_flight: int = 0
    job_patience_s: float | None = None
    consumer_filter: str = ""
    publish_subject: str = ""
    tenants: Policy | None = None
    shards: int = 1
    max_priority: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be spread, and classes where they cannot be."""
        if self.shards < 1:
            raise ValueError(f"Queue {self.queue} needs a shard, not {self.shards}.")
        if not self.by_tenant and (self.shards > 1 or self.tenants):
            raise ValueError(
                f"Queue {self.queue} has no {{tenant}} in its subject, so that it can "
                "have neither shards nor a policy."
            )
        if self.max_priority is not None:
            self._check_classes(self.max_priority)

    def _check_classes(self, highest: int) -> None:
        _check_priority(highest)
        others = self.consumer_filter or self.publish_subject
        if others or set(self.subject) & set("*>{"):
            raise ValueError(f"Queue {self.queue} has many subjects, so no priorities.")
        if 0 < self.max_in_flight <= highest:
            raise ValueError(f"Queue {self.queue} needs max_in_flight over {highest}.")

    def part(self, number: int) -> "Route":
        """Return the route within one shard; it is a route with a stream of its own."""
        stream = f"{self.stream}-{number}"

        def within(subject: str) -> str:
            return f"{stream}.{subject}" if subject else ""

        return replace(
            self,
            stream=stream,
            subject=within(self.subject),
            consumer_filter=within(self.consumer_filter),
            publish_subject=within(self.publish_subject),
            shards=1,
        )

    def parts(self) -> tuple["Route", ...]:
        """Return the route within each shard; itself alone where there is one."""
        if self.shards == 1:
            return (self,)
        return tuple(self.part(number) for number in range(self.shards))

    @property
    def classes(self) -> tuple["Route", ...]:
        """Return the route of each priority class, from class 0; at least this one."""
        return (self,) if self.max_priority is None else _classes(self)

    @property
    def by_tenant(self) -> bool:
        """Tell whether each tenant has a consumer."""
        return "{tenant}" in self.subject

    def filter(self, tenant: str = "*") -> str:
        """Return the subjects consumed for a tenant, by default for all."""
        return (self.consumer_filter or self.subject).replace("{tenant}", tenant)

    def consumer_name(self, tenant: str = "") -> str:
        """Return the durable consumer's name."""
        default = escaped(self.queue) + ("-{tenant}" if self.by_tenant else "")
        return (self.consumer or default).replace("{tenant}", tenant)

    def target(self, options: Mapping[str, Any]) -> str:
        """Return the subject that a message with these options is published to.

        Raises:
            ValueError: An option that the subject names is missing or no token.
        """
        subject = self.publish_subject or self.subject
        if "{" not in subject:
            return subject
        return _FIELD.sub(lambda match: self._token(match[1], options), subject)

    def _token(self, name: str, options: Mapping[str, Any]) -> str:
        text = str(options.get(name, ""))
        if not _TOKEN.fullmatch(text):
            raise ValueError(
                f"Queue {self.queue} needs the option {name}, of letters, "
                f"digits, _ and -, not {text!r}."
            )
        return text

    def tenant_of(self, subject: str) -> str:
        """Return whose message it is, by its subject; `""` without tenants."""
        if not self.by_tenant:
            return ""
        place = self.subject.split(".").index("{tenant}")
        return subject.split(".")[place]

    @property
    def delayed(self) -> str:
        """Return what the subjects of waiting messages begin with."""
        return f"delayed.{self.stream}.{escaped(self.queue)}"

    @property
    def locks(self) -> str:
        """Return what the subjects of unique jobs' locks begin with."""
        return f"unique.{self.stream}.{escaped(self.queue)}"

    @property
    def all_delayed(self) -> str:
        """Return the subjects of all waiting messages."""
        return f"{self.delayed}.>"

    @property
    def dead(self) -> str:
        """Return the subject of the queue's dead letters."""
        return f"dead.{escaped(self.queue)}"


@lru_cache
def _classes(route: Route) -> tuple[Route, ...]:
    # No queue's name has a tilde, so no other consumer has such a name.
    name, highest = route.consumer_name(), route.max_priority or 0
    return route, *(
        replace(
            route,
            subject=f"{route.subject}.p{number}",
            consumer=f"{name}~p{number}",
            max_priority=None,
        )
        for number in range(1, highest + 1)
    )


def _check_priority(highest: int | None) -> None:
    if highest is not None and not 1 <= highest <= MAX_PRIORITY:
        raise ValueError(f"max_priority is 1 to {MAX_PRIORITY}, not {highest}.")


def escaped(queue: str) -> str:
    """Return the queue's name as one token of a subject; can be undone."""
    return queue.replace(".", "=")


def unescaped(token: str) -> str:
    """Return the queue whose name `escaped` made the token of."""
    return token.replace("=", ".")


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
        _check_priority(self.max_priority)


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
        if stream == CRASH_STREAM:
            return common | {
                "subjects": ["crashes.>"],
                "retention": "limits",
                "discard": "old",
                "max_age": CRASH_DAYS * 86_400 * 10**9,
            }
        if stream == DEAD_STREAM:
            return common | {
                "subjects": ["dead.>"],
                "retention": "limits",
                "discard": "old",
                # Each letter has its own time, which may be longer than another's.
                "max_age": 0,
                "allow_msg_ttl": True,
                "allow_direct": True,
            }
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
