"""Who did what to batches, configs and limits: buffered, never lost, no secrets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson

from analytics.buffer import Buffer
from analytics.client import Client
from analytics.masking import without_secrets
from analytics.reported import columns_of, milliseconds
from analytics.spool import Row

_NOBODY = UUID(int=0)

_COLUMNS = (
    ("tenant_id", "UUID"),
    ("occurred_at", "DateTime64(3, 'UTC')"),
    ("id", "UUID"),
    ("actor_kind", "LowCardinality(String)"),
    ("actor_id", "String"),
    ("action", "LowCardinality(String)"),
    ("object_kind", "LowCardinality(String)"),
    ("object_id", "String"),
    ("details", "String"),
)


class ActorKind(StrEnum):
    """What kind of somebody did it."""

    API_KEY = "api_key"
    USER = "user"
    SYSTEM = "system"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One deed.

    Attributes:
        actor_kind: What kind of somebody did it.
        actor_id: The key's or user's id, or the duty's name; never the key itself.
        action: What was done, such as `batch.cancelled`.
        object_kind: To what, such as `batch`.
        object_id: Which one.
        tenant_id: Whose it is; none for the system's own.
        details: Whatever else tells, of JSON's types. What its name calls a secret,
            and every address, is left out when it is written.
        occurred_at: When, aware of its zone.
        id: The same for the same deed, so that a repeat is the same entry.
    """

    actor_kind: ActorKind
    actor_id: str
    action: str
    object_kind: str
    object_id: str
    tenant_id: UUID | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    occurred_at: datetime = field(default_factory=_now)
    id: UUID = field(default_factory=uuid4)


class AuditWriter:
    """Stores entries; the same entry again is one entry.

    One for a process, made after a fork: it holds a `Buffer`, whose promises are its
    own.
    """

    def __init__(self, client: Client, spool_dir: Path, **limits: Any) -> None:
        """Begin; what a killed process left in the folder is written, too.

        Args:
            client: Used by this writer's thread alone.
            spool_dir: Below it is a folder `audit`, shared by all such writers.
            limits: Those of a `Buffer`.
        """
        self._buffer = Buffer(partial(_insert, client), spool_dir / "audit", **limits)

    def write(self, entries: Sequence[AuditEntry]) -> None:
        """Take entries; when it returns they are on the disk, and nothing loses them.

        Fails closed: raises `NeighbourUnavailableError` when there is no room. Write
        before the deed is done, so that none is done without an entry.
        """
        self._buffer.add([_row(entry) for entry in entries])

    def flush(self, *, timeout_s: float = 60.0) -> bool:
        """Write all that waits, now, and tell whether ClickHouse has it."""
        return self._buffer.flush(timeout_s=timeout_s)

    def close(self, *, timeout_s: float = 10.0) -> bool:
        """Write what waits and end; tells whether nothing is left on the disk."""
        return self._buffer.close(timeout_s=timeout_s)


def _row(entry: AuditEntry) -> Row:
    details = without_secrets(dict(entry.details))
    return (
        str(entry.tenant_id or _NOBODY),
        milliseconds(entry.occurred_at),
        str(entry.id),
        str(entry.actor_kind),
        entry.actor_id,
        entry.action,
        entry.object_kind,
        entry.object_id,
        orjson.dumps(details, default=str).decode() if details else "",
    )


def _insert(client: Client, rows: Sequence[Row], token: str) -> None:
    client.insert("audit_logs", columns_of(_COLUMNS, rows), token=token)
