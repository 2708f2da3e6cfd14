"""A message of Dramatiq's as one on its way into a stream."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dramatiq.message import Message, get_encoder

from brokers.delivery import current_delivery
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
        encoded(message),
        {"Nats-Msg-Id": unique},
    )


def encoded(message: Message[Any]) -> bytes:
    """Return the message's bytes, as its own method does."""
    # Without looking at each field.
    if type(message) is Message:
        return get_encoder().encode(vars(message))
    return message.encode()


@contextmanager
def kept_unless_stored() -> Iterator[None]:
    """Keep the message whose follow-up cannot be stored.

    A retry, a callback or the next step of a pipeline is enqueued by a hook after the
    actor. Dramatiq swallows the hook's error and acknowledges the message, which
    would lose both.
    """
    try:
        yield
    except BaseException as error:
        delivery = current_delivery()
        if delivery is not None and delivery.is_over:
            delivery.unsent = error
        raise
