"""A message of Dramatiq's as one on its way into a stream."""

import secrets
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from dramatiq.actor import Actor
from dramatiq.common import q_name
from dramatiq.message import Message, get_encoder

from brokers.delivery import current_delivery
from brokers.priorities import class_of
from brokers.publishing import Outgoing
from brokers.routes import Route
from brokers.shards import shard
from brokers.topology import Topology


def outgoing(message: Message[Any], route: Route, unique: str) -> Outgoing:
    """Return the message, encoded; only after the hooks, which may change its options.

    Args:
        message: Any, or a proxy of one.
        route: Of its queue, or of its priority class.
        unique: The server stores this id once.

    Raises:
        ValueError: The route needs an option that the message lacks.
    """
    return Outgoing(
        route.stream,
        route.target(message.options),
        encoded(message),
        {"Nats-Msg-Id": unique},
    )


def encoded(message: Message[Any]) -> bytes:
    """Return the message's bytes, as its own method does."""
    # Without looking at each field.
    if type(message) is Message:
        return get_encoder().encode(vars(message))
    return message.encode()


def all_encoded(messages: Sequence[Message[Any]]) -> list[bytes]:
    """Return each message's bytes, as `encoded` does."""
    encode = get_encoder().encode
    return [
        encode(vars(one)) if type(one) is Message else one.encode() for one in messages
    ]


def fresh_ids(count: int) -> list[str]:
    """Return so many ids that nobody used before."""
    prefix = secrets.token_hex(12)
    return [f"{prefix}.{number}" for number in range(count)]


class Addresses:
    """Knows where messages go.

    Args:
        topology: Knows the queues' routes.
        actors: Whose options count where a message has none; read at each use.
    """

    def __init__(
        self, topology: Topology, actors: Mapping[str, Actor[Any, Any]]
    ) -> None:
        self._topology = topology
        self._actors = actors

    def route(self, message: Message[Any]) -> Route:
        """Return where the message belongs: its shard, or its priority class.

        Raises:
            ValueError: The route has no such priority.
        """
        parts = self._topology.parts(q_name(message.queue_name))
        return class_of(message, shard(parts, message.options), self._actors)

    def targets(self, messages: Sequence[Message[Any]]) -> list[tuple[str, str]]:
        """Return each message's stream and subject.

        Raises:
            ValueError: A route needs an option that a message lacks, or has no such
                priority.
        """
        names = [message.queue_name for message in messages]
        only = {name: self._only_target(name) for name in set(names)}
        return [
            only[name] or self._target(one)
            for name, one in zip(names, messages, strict=True)
        ]

    def outgoing(
        self, messages: Sequence[Message[Any]], ids: Sequence[str]
    ) -> list[Outgoing]:
        """Return the messages, encoded; only after the hooks, as `outgoing` does.

        Raises:
            ValueError: As for `targets`.
        """
        targets, bodies = self.targets(messages), all_encoded(messages)
        return [
            Outgoing(stream, subject, body, {"Nats-Msg-Id": unique})
            for (stream, subject), body, unique in zip(
                targets, bodies, ids, strict=True
            )
        ]

    def _only_target(self, queue: str) -> tuple[str, str] | None:
        """Return where all of a queue's messages go; most queues have one subject."""
        parts = self._topology.parts(q_name(queue))
        if len(parts) > 1 or not parts[0].only_subject:
            return None
        return parts[0].stream, parts[0].only_subject

    def _target(self, message: Message[Any]) -> tuple[str, str]:
        route = self.route(message)
        return route.stream, route.target(message.options)


class KeptUnlessStored:
    """Keeps the message whose follow-up cannot be stored.

    A retry, a callback or the next step of a pipeline is enqueued by a hook after the
    actor. Dramatiq swallows the hook's error and acknowledges the message, which
    would lose both.
    """

    def __enter__(self) -> None:
        """Begin to store it."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Note what went wrong at the delivery, if anything did."""
        delivery = None if error is None else current_delivery()
        if delivery is not None and delivery.is_over:
            delivery.unsent = error


#: Has no state, and is entered with each message.
kept_unless_stored = KeptUnlessStored()
