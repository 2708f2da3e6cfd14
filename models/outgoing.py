"""What tenants' own endpoints are told: events, how they are packed, secrets, times.

Source of what can be numbers here: Standard Webhooks, `spec/standard-webhooks.md`.
"""

import base64
import random
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from models.status import OUTCOMES, RecipientStatus

#: What an endpoint may subscribe to: what becomes of recipients, of batches, and of the
#: tenant's other endpoints.
EVENTS = (
    *(f"message.{status}" for status in OUTCOMES),
    *(
        f"message.{status}"
        for status in RecipientStatus
        if status.rank > RecipientStatus.SENT.rank
    ),
    "batch.completed",
    "batch.cancelled",
    "endpoint.disabled",
)
#: What a tenant asks for, to see whether an endpoint works.
TEST_EVENT = "endpoint.test"
#: Events in one delivery, by default: the standard wants bodies below 20 kB.
DEFAULT_BATCH_SIZE = 50
MAX_BATCH_SIZE = 500
#: Seconds from one attempt to the next; an endpoint has three days to come back.
RETRY_AFTER_S = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
#: Waits are longer by up to this part, so that those who failed together do not come
#: back together.
_JITTER = 0.2
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that happened to a recipient after it was sent.

    Attributes:
        batch_id: The recipient's batch.
        seq: Its number there.
        event: One of `EVENTS`, such as `message.bounced`.
        at: When it happened; none is now.
        id: What a receiver knows the event by, the same when it is noted again; `""`
            is made of batch, seq and event.
        details: What else is told, under names in camel case, such as `reason`. They
            are kept for days: no addresses.
    """

    batch_id: UUID
    seq: int
    event: str
    at: datetime | None = None
    id: str = ""
    details: Mapping[str, Any] | None = None

    @property
    def stored(self) -> dict[str, Any]:
        """Return the details as the outbox has them."""
        own = {"id": self.id or None, "at": self.at}
        given = {name: value for name, value in own.items() if value is not None}
        return {**(self.details or {}), **given}


def packed(
    rows: Sequence[Mapping[str, Any]], *, events: Iterable[str], batch_size: int
) -> Iterator[list[dict[str, Any]]]:
    """Yield the groups of each delivery to one endpoint.

    A group is `{event, batch, at, seqs, details}` as JSON has it: `details` by
    position, or null. The rows' order is kept.

    Args:
        rows: Of the outbox.
        events: What the endpoint wants to hear of; of the rest nothing is yielded.
        batch_size: Events in one delivery.
    """
    wanted, groups, room = set(events), [], batch_size
    for row in rows:
        if row["event"] not in wanted:
            continue
        for group in _cut(row, room, batch_size):
            groups.append(group)
            room -= size_of([group])
            if room == 0:
                yield groups
                groups, room = [], batch_size
    if groups:
        yield groups


def _cut(row: Mapping[str, Any], room: int, size: int) -> Iterator[dict[str, Any]]:
    """Yield a row in pieces: the first of `room` events, the others of `size`."""
    seqs, details = row["seqs"], row["details"]
    first, last = 0, room
    while first == 0 or first < len(seqs):
        yield {
            "event": row["event"],
            "batch": str(row["batch_id"]) if row["batch_id"] else None,
            "at": row["at"],
            "seqs": seqs[first:last],
            "details": details[first:last] if details else None,
        }
        first, last = last, last + size


def size_of(groups: Iterable[Mapping[str, Any]]) -> int:
    """Return how many events these are; what is of no recipient is one."""
    return sum(len(group["seqs"]) or 1 for group in groups)


def body_of(
    groups: Iterable[Mapping[str, Any]],
    addresses: Mapping[tuple[str, int], str],
    *,
    at: datetime,
) -> dict[str, Any]:
    """Return what is posted; the same groups always make the same body.

    Args:
        groups: As `packed` made them.
        addresses: By batch and seq; who was erased meanwhile is told without one.
        at: When the delivery was made.
    """
    data = [event for group in groups for event in _events(group, addresses)]
    return {"type": "batch", "timestamp": at, "data": data}


def _events(
    group: Mapping[str, Any], addresses: Mapping[tuple[str, int], str]
) -> Iterator[dict[str, Any]]:
    kind, batch = group["event"], group["batch"]
    for place, seq in enumerate(group["seqs"] or [None]):
        told = dict((group["details"] or {})[place] or {}) if group["details"] else {}
        names = [str(name) for name in (batch, seq, kind) if name is not None]
        about = {"batch": batch, "seq": seq}
        if seq is not None:
            about["to"] = addresses.get((batch, seq))
        event_id, at = told.pop("id", ":".join(names)), told.pop("at", group["at"])
        known = {name: value for name, value in about.items() if value is not None}
        yield {"id": event_id, "type": kind, "timestamp": at, "data": {**known, **told}}


def wait_s(attempts: int, *, asked_s: float = 0.0) -> float | None:
    """Return the seconds until the next attempt; none when it was the last.

    Args:
        attempts: How many have failed, this one included.
        asked_s: What the endpoint's `Retry-After` says.
    """
    if attempts > len(RETRY_AFTER_S):
        return None
    return max(RETRY_AFTER_S[attempts - 1], asked_s) * random.uniform(1, 1 + _JITTER)  # noqa: S311 - no secret


def new_secret() -> str:
    """Return a fresh signing secret, such as `whsec_…`."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What an endpoint's deliveries are signed with; as JSON, sealed, in its row.

    Attributes:
        secret: The present one.
        former: The one before, none where there is none.
        former_until: Until when both sign, in seconds since the epoch.
    """

    secret: str
    former: str | None = None
    former_until: float = 0.0

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Secrets":
        """Return the secrets that `stored` wrote."""
        return cls(stored["secret"], stored.get("former"), stored.get("formerUntil", 0))

    @property
    def stored(self) -> dict[str, Any]:
        """Return them as JSON has them."""
        kept = {"former": self.former, "formerUntil": self.former_until}
        return {"secret": self.secret, **(kept if self.former else {})}

    def rotated(self, secret: str, now: datetime, overlap: timedelta) -> "Secrets":
        """Return these after a change: until the overlap is over, both sign."""
        return Secrets(secret, self.secret, (now + overlap).timestamp())

    def signing(self, now_s: float) -> list[str]:
        """Return the secrets to sign with now, the present one first."""
        if self.former is None or now_s >= self.former_until:
            return [self.secret]
        return [self.secret, self.former]
