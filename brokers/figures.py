"""What a queue holds and how fast it moves, as the server sees all its workers."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from brokers.errors import ApiError
from brokers.letters import MESSAGE_NOT_FOUND
from brokers.link import Link
from brokers.routes import Route
from brokers.shards import earlier_parts
from brokers.stored import stored_by_subject
from brokers.topology import CONSUMER_NOT_FOUND, DEAD_STREAM, STREAM_NOT_FOUND, Topology

#: Of more tenants than this only those with the most messages are asked their age.
AGED_TENANTS = 256
#: Beyond all subjects: the answer then holds their number and none of their names.
_BEYOND = 10**9
#: From a tenant and how many messages it has to the name of its class.
TenantClass = Callable[[str, int], str]


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """The tenants of one class that have messages.

    Attributes:
        tenants: How many they are.
        stored: Their messages, in flight or not.
        oldest_s: Age of the oldest message, in seconds, of the `AGED_TENANTS` with
            the most; 0.0 where none was asked.
    """

    tenants: int
    stored: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """One look at a queue.

    Attributes:
        queue: Its name.
        ready: Messages that no worker has.
        in_flight: Messages that workers have.
        redelivered: Those in flight that were delivered before.
        delayed: Messages that wait for their time.
        dead: Dead letters.
        tenants: Tenants with messages; 0 where the queue has no tenants.
        oldest_s: Age of the oldest message, in flight or not, in seconds; 0.0 where
            there is none.
        settled: By consumer, how many deliveries were settled since it was made,
            whether acknowledged or not.
        classes: By name, where classes were asked for.
    """

    queue: str
    ready: int = 0
    in_flight: int = 0
    redelivered: int = 0
    delayed: int = 0
    dead: int = 0
    tenants: int = 0
    oldest_s: float = 0.0
    settled: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, ClassFigures] = field(default_factory=dict)

    def rates_since(
        self, before: "QueueFigures", seconds: float
    ) -> tuple[float, float]:
        """Return messages that came and deliveries that were settled, each a second.

        A consumer that was made anew meanwhile counts from its beginning.
        """
        out = 0
        for consumer, settled in self.settled.items():
            known = before.settled.get(consumer, 0)
            out += settled - known if settled >= known else settled
        grown = self.ready + self.in_flight - before.ready - before.in_flight
        return max(0, grown + out) / seconds, out / seconds


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """What JetStream holds on disk for our account.

    Attributes:
        stored_bytes: All streams together.
        most_bytes: What it may hold; None where the account has no limit.
    """

    stored_bytes: int
    most_bytes: int | None


class Figures:
    """Asks the server about queues; changes and makes nothing."""

    def __init__(self, connected: Callable[[], Link], topology: Topology) -> None:
        self._connected = connected
        self._topology = topology

    def of(self, queue: str, tenant_class: TenantClass | None = None) -> QueueFigures:
        """Return the queue's figures; all are 0 before its stream is made."""
        link, route = self._connected(), self._topology.route(queue)
        parts = self._topology.parts(queue)
        work = _looks(link, route, parts, tenant_class)
        return link.run(work, timeout_s=30.0)

    def store(self) -> StoreFigures:
        """Return how full the account's storage is."""
        link = self._connected()
        answer = link.run(link.api("INFO"))
        most = int(answer["limits"]["max_storage"])
        return StoreFigures(int(answer["storage"]), most if most > 0 else None)


async def _looks(
    link: Link,
    route: Route,
    parts: Sequence[Route],
    tenant_class: TenantClass | None,
) -> QueueFigures:
    """Return what all the queue's streams hold together."""
    parts = [*parts, *await earlier_parts(link, route)]
    looks = [_look(link, part, tenant_class) for part in parts]
    found = await asyncio.gather(*looks)
    total = found[0]
    for one in found[1:]:
        total = _together(total, one)
    return total


def _together(one: QueueFigures, other: QueueFigures) -> QueueFigures:
    """Return both; a tenant with messages in two streams counts twice."""
    classes = dict(one.classes)
    for name, more in other.classes.items():
        known = classes.get(name, ClassFigures(0, 0, 0.0))
        classes[name] = ClassFigures(
            known.tenants + more.tenants,
            known.stored + more.stored,
            max(known.oldest_s, more.oldest_s),
        )
    return QueueFigures(
        queue=one.queue,
        ready=one.ready + other.ready,
        in_flight=one.in_flight + other.in_flight,
        redelivered=one.redelivered + other.redelivered,
        delayed=one.delayed + other.delayed,
        # All streams have the same stream of dead letters.
        dead=one.dead,
        tenants=one.tenants + other.tenants,
        oldest_s=max(one.oldest_s, other.oldest_s),
        settled=Counter(one.settled) + Counter(other.settled),
        classes=classes,
    )


async def _look(
    link: Link, route: Route, tenant_class: TenantClass | None
) -> QueueFigures:
    stored, dead, delayed, consumers = await asyncio.gather(
        _ready(link, route),
        _stored(link, DEAD_STREAM, route.dead),
        _delayed(link, route),
        _consumers(link, route),
    )
    oldest_s = await _oldest_of_all_s(link, route) if stored else 0.0
    by_tenant: dict[str, int] = {}
    if route.by_tenant:
        for subject, count in stored.items():
            tenant = route.tenant_of(subject)
            by_tenant[tenant] = by_tenant.get(tenant, 0) + count
    classes = {}
    if tenant_class and by_tenant:
        classes = await _classes(link, route, by_tenant, tenant_class)
    in_flight = sum(one["num_ack_pending"] for one in consumers)
    return QueueFigures(
        queue=route.queue,
        ready=max(0, sum(stored.values()) - in_flight),
        in_flight=in_flight,
        redelivered=sum(one["num_redelivered"] for one in consumers),
        delayed=delayed,
        dead=sum(dead.values()),
        tenants=len(by_tenant),
        oldest_s=oldest_s,
        settled={
            one["name"]: one["delivered"]["consumer_seq"] - one["num_ack_pending"]
            for one in consumers
        },
        classes=classes,
    )


async def _classes(
    link: Link, route: Route, by_tenant: dict[str, int], tenant_class: TenantClass
) -> dict[str, ClassFigures]:
    deepest = sorted(by_tenant, key=lambda one: -by_tenant[one])[:AGED_TENANTS]
    ages = await asyncio.gather(
        *(_oldest_s(link, route, route.filter(tenant)) for tenant in deepest)
    )
    age_of = dict(zip(deepest, ages, strict=True))
    found: dict[str, ClassFigures] = {}
    for tenant, count in by_tenant.items():
        name = tenant_class(tenant, count)
        so_far = found.get(name, ClassFigures(0, 0, 0.0))
        found[name] = ClassFigures(
            so_far.tenants + 1,
            so_far.stored + count,
            max(so_far.oldest_s, age_of.get(tenant, 0.0)),
        )
    return found


async def _ready(link: Link, route: Route) -> dict[str, int]:
    """Return the messages of all priority classes by subject."""
    found: dict[str, int] = {}
    for one in route.classes:
        found |= await _stored(link, one.stream, one.filter())
    return found


async def _stored(link: Link, stream: str, subjects: str) -> dict[str, int]:
    try:
        return (await stored_by_subject(link, stream, subjects))[0]
    except ApiError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise
        return {}


async def _delayed(link: Link, route: Route) -> int:
    """Return how many messages wait; each has a subject of its own."""
    request = {"subjects_filter": f"{route.delayed}.>", "offset": _BEYOND}
    answer = await _asked(link, f"STREAM.INFO.{route.stream}", request)
    return int(answer.get("total", 0)) if answer else 0


async def _consumers(link: Link, route: Route) -> list[dict[str, Any]]:
    if not route.by_tenant:
        infos = [
            await _asked(link, f"CONSUMER.INFO.{one.stream}.{one.consumer_name()}")
            for one in route.classes
        ]
        return [info for info in infos if info]
    found: list[dict[str, Any]] = []
    offset, total = 0, 1
    while offset < total:
        path = f"CONSUMER.LIST.{route.stream}"
        page = await _asked(link, path, {"offset": offset})
        if not page or not page["consumers"]:
            break
        offset, total = offset + len(page["consumers"]), page["total"]
        found += (one for one in page["consumers"] if _serves(one, route))
    return found


def _serves(consumer: dict[str, Any], route: Route) -> bool:
    """Tell whether it is the consumer of one of the route's tenants."""
    subject = consumer["config"].get("filter_subject", "")
    pattern, tokens = route.filter().split("."), subject.split(".")
    return len(pattern) == len(tokens) and all(
        ours in ("*", theirs) for ours, theirs in zip(pattern, tokens, strict=True)
    )


async def _oldest_of_all_s(link: Link, route: Route) -> float:
    """Return the age of the first message of any priority class."""
    return max([await _oldest_s(link, one, one.filter()) for one in route.classes])


async def _oldest_s(link: Link, route: Route, subjects: str) -> float:
    """Return the age of the first message, by this machine's clock."""
    path = f"STREAM.MSG.GET.{route.stream}"
    answer = await _asked(link, path, {"seq": 0, "next_by_subj": subjects})
    if not answer:
        return 0.0
    stored_at = datetime.fromisoformat(answer["message"]["time"])
    return max(0.0, (datetime.now(stored_at.tzinfo) - stored_at).total_seconds())


async def _asked(
    link: Link, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any] | None:
    """Return the answer; none where there is no such stream, consumer or message."""
    try:
        return await link.api(path, body)
    except ApiError as error:
        missing = (STREAM_NOT_FOUND, CONSUMER_NOT_FOUND, MESSAGE_NOT_FOUND)
        if error.err_code in missing:
            return None
        raise
