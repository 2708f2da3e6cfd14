"""A key's value, as the server tells it in a message's headers."""

import math
from dataclasses import dataclass

from brokers.wire import Incoming

#: Headers of messages that say that a key has no value any more.
HIDDEN = ("KV-Operation", "Nats-Marker-Reason")


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's value.

    Attributes:
        value: Its bytes.
        revision: Grows with each write to the bucket.
        writer: Names the call that wrote it, where that was a conditional one.
    """

    value: bytes
    revision: int
    writer: str = ""


def lifetime(ttl_ms: int | None) -> dict[str, str]:
    """Return the header for it; the server knows whole seconds, at least one."""
    if ttl_ms is None:
        return {}
    return {"Nats-TTL": f"{max(1, math.ceil(ttl_ms / 1000))}s"}


def entry_of(message: Incoming) -> Entry | None:
    """Return what the message tells of its key; none where the key has no value."""
    headers, revision = message.headers, revision_of(message)
    if not revision or any(name in headers for name in HIDDEN):
        return None
    return Entry(message.data, revision, headers.get("Nats-Incoming-Id", ""))


def revision_of(message: Incoming) -> int:
    """Return the message's place in its stream; 0 where there is no message."""
    return int(message.headers.get("Nats-Sequence", 0))


def subject_of(message: Incoming) -> str:
    """Return what it is stored under; `""` where there is no message."""
    return str(message.headers.get("Nats-Subject", ""))
