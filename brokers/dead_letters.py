"""Dead letters: messages that nobody will work on, kept with what went wrong.

The body is kept as it came, so that a letter can be replayed byte by byte. Reasons
stand in headers, as JSON text where they may have several lines.
"""

import traceback

import orjson

from brokers.delivery import Delivery
from brokers.publishing import Outgoing, Publisher
from brokers.topology import DEAD_STREAM, Route

#: At most so much of an error's text and of its traceback is kept.
ERROR_CHARS = 1_000
TRACEBACK_CHARS = 8_000


def bury(
    publisher: Publisher,
    route: Route,
    delivery: Delivery,
    body: bytes,
    *,
    reason: str,
    error: BaseException | None = None,
) -> None:
    """Store a dead letter; it is durable when this returns.

    The same delivery again changes nothing for as long as the server knows ids.

    Args:
        publisher: Stores it.
        route: The queue's route.
        delivery: What the server told with the message.
        body: The message as it came.
        reason: A word for why it is dead, such as `failed`.
        error: What was raised.

    Raises:
        BrokerConnectionError: It is not confirmed; the original must stay.
        BrokerError: The server refused it; the original must stay.
    """
    headers = {
        "Nats-Msg-Id": f"dead.{delivery.identity}",
        "Dead-Reason": reason,
        "Dead-Queue": route.queue,
        "Dead-Stream": delivery.stream,
        "Dead-Deliveries": str(delivery.deliveries),
    }
    if error is not None:
        text = f"{type(error).__name__}: {error}"[:ERROR_CHARS]
        trace = "".join(traceback.format_exception(error))[-TRACEBACK_CHARS:]
        headers["Dead-Error"] = orjson.dumps(text).decode()
        headers["Dead-Traceback"] = orjson.dumps(trace).decode()
    letter = Outgoing(DEAD_STREAM, route.dead, body, headers)
    fitting = _fitting(letter, publisher.max_payload_bytes)
    publisher.store([fitting], reserve_bytes=0)


def _fitting(letter: Outgoing, limit: int) -> Outgoing:
    """Return the letter, without its error where both are too large together."""
    headers = dict(letter.headers)
    for name in ("Dead-Traceback", "Dead-Error"):
        letter = Outgoing(letter.stream, letter.subject, letter.body, headers)
        if letter.size_bytes <= limit:
            return letter
        headers = {k: v for k, v in headers.items() if k != name}
    return Outgoing(letter.stream, letter.subject, letter.body, headers)
