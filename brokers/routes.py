"""Which stream, subject and consumer a queue or a tenant has."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from brokers.tenants import Policy

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
        check_priority(highest)
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

    @property
    def only_subject(self) -> str:
        """Return the one subject that all messages are published to; `""` for none."""
        subject = self.publish_subject or self.subject
        return "" if "{" in subject or self.max_priority is not None else subject

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


def check_priority(highest: int | None) -> None:
    """Refuse more priorities than there are; none is right.

    Raises:
        ValueError: There are too many, or too few.
    """
    if highest is not None and not 1 <= highest <= MAX_PRIORITY:
        raise ValueError(f"max_priority is 1 to {MAX_PRIORITY}, not {highest}.")


def escaped(queue: str) -> str:
    """Return the queue's name as one token of a subject; can be undone."""
    return queue.replace(".", "=")


def unescaped(token: str) -> str:
    """Return the queue whose name `escaped` made the token of."""
    return token.replace("=", ".")
