"""Dead letters: messages that nobody will work on, kept with what went wrong.

The body is kept as it came, so that a letter can be replayed byte by byte. Reasons
stand in headers, as JSON text where they may have several lines. Each letter has its
own time to live, so that one queue's long memory is not every queue's.
"""

import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from brokers.decoding import fields_of
from brokers.delivery import Delivery
from brokers.publishing import Outgoing, Publisher
from brokers.routes import Route
from brokers.topology import DEAD_STREAM

#: At most so much of an error's text and of its traceback is kept.
ERROR_CHARS = 1_000
TRACEBACK_CHARS = 8_000
#: How long a letter is kept by default.
TTL_MS = 7 * 86_400_000
#: Dramatiq's own name for another default, in milliseconds.
TTL_VARIABLE = "dramatiq_dead_message_ttl"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that nobody works on any more.

    Attributes:
        sequence: Its number among all dead letters; never used again.
        queue: The queue that it came from.
        stream: That queue's stream.
        subject: What it is published to when it is replayed; `""` where the letter
            does not tell.
        body: The message as it came.
        reason: Why it is dead: `failed`, `undecodable` or `crashed`.
        error: The exception's type and text, none where nothing was raised.
        traceback: Where it was raised; none as before, or where it had no room.
        deliveries: How often the message had been delivered.
        died_at: When the letter was stored, by the server's clock.
    """

    sequence: int
    queue: str
    stream: str
    subject: str
    body: bytes
    reason: str
    error: str | None
    traceback: str | None
    deliveries: int
    died_at: datetime

    @property
    def message(self) -> Message[Any] | None:
        """Return the message; none where it cannot be decoded."""
        try:
            return Message(**fields_of(self.body, self.queue))
        except DecodeError:
            return None

    @classmethod
    def read(cls, body: bytes, headers: Mapping[str, str]) -> "DeadLetter":
        """Return the letter that the server hands out with these headers."""
        return cls(
            sequence=int(headers["Nats-Sequence"]),
            queue=headers.get("Dead-Queue", ""),
            stream=headers.get("Dead-Stream", ""),
            subject=headers.get("Dead-Subject", ""),
            body=body,
            reason=headers.get("Dead-Reason", ""),
            error=_text(headers.get("Dead-Error")),
            traceback=_text(headers.get("Dead-Traceback")),
            deliveries=int(headers.get("Dead-Deliveries", "0")),
            died_at=datetime.fromisoformat(headers["Nats-Time-Stamp"]),
        )


def default_ttl_ms() -> int:
    """Return how long letters are kept, as the environment says or for seven days.

    Raises:
        ValueError: The environment names no whole number.
    """
    return int(os.environ.get(TTL_VARIABLE) or TTL_MS)


def bury(
    publisher: Publisher,
    route: Route,
    delivery: Delivery,
    body: bytes,
    *,
    reason: str,
    error: BaseException | None = None,
    ttl_ms: int = TTL_MS,
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
        ttl_ms: How long it is kept; the server counts in whole seconds, from one.

    Raises:
        BrokerConnectionError: It is not confirmed; the original must stay.
        BrokerError: The server refused it; the original must stay.
    """
    headers = {
        "Nats-Msg-Id": f"dead.{delivery.identity}",
        "Nats-TTL": f"{max(1, -(-ttl_ms // 1000))}s",
        "Dead-Reason": reason,
        "Dead-Queue": route.queue,
        "Dead-Stream": delivery.stream,
        "Dead-Subject": delivery.subject,
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


def _text(value: str | None) -> str | None:
    return None if value is None else str(orjson.loads(value))
