"""A message of Dramatiq's as one on its way into a stream."""

from typing import Any

from dramatiq.message import Message, get_encoder

from brokers.publishing import Outgoing
from brokers.routes import Route


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
        _encoded(message),
        {"Nats-Msg-Id": unique},
    )


def _encoded(message: Message[Any]) -> bytes:
    # What its own method does, without looking at each field.
    if type(message) is Message:
        return get_encoder().encode(vars(message))
    return message.encode()
