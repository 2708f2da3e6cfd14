"""The audit log of a process: written from its first deed on, and read in pages."""

import logging
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from analytics.audit import ActorKind, AuditEntry, AuditWriter
from analytics.client import Client
from analytics.reported import milliseconds
from analytics.sql import statement
from models.errors import InvalidInputError, NeighbourUnavailableError

log = logging.getLogger("batchsender.audit")

_ALL_IDS_ABOVE = UUID(int=2**128 - 1)
_NOBODY = UUID(int=0)
#: Later than any entry, in milliseconds; ClickHouse's own times end there.
_NEVER_MS = 4_102_444_800_000


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something.

    Attributes:
        kind: What kind of somebody.
        id: The key's or user's id, or the duty's name.
        tenant_id: Whose key or user it is; none for the system.
    """

    kind: ActorKind
    id: str
    tenant_id: UUID | None = None

    def did(self, action: str, kind: str, object_id: str, **details: Any) -> AuditEntry:
        """Return the entry of a deed of this moment."""
        return AuditEntry(
            self.kind,
            self.id,
            action,
            kind,
            object_id,
            tenant_id=self.tenant_id,
            details=details,
        )


class AuditLog:
    """Writes entries; its thread and its folder are made with the first one.

    So an application can be put together before its server forks. Safe among threads.
    """

    def __init__(self, client: Client, spool_dir: Path, **limits: Any) -> None:
        """Begin; arguments as an `AuditWriter` takes them."""
        self._arguments = (client, spool_dir)
        self._limits = limits
        self._lock = threading.Lock()
        self._writer: AuditWriter | None = None
        self._is_full = False

    def check_room(self) -> None:
        """Raise `NeighbourUnavailableError` where a deed could not be written down.

        Asked before the deed (fails closed): after an entry found no room, nothing is
        done until there is some again.
        """
        if self._is_full:
            actor = Actor(ActorKind.SYSTEM, "audit")
            self.write(actor.did("audit.resumed", "audit", ""))

    def write(self, *entries: AuditEntry) -> None:
        """Take entries; they are on the disk when this returns.

        Raises:
            NeighbourUnavailableError: There is no room. The deeds are done, so they
                are also logged, without what they were about.
        """
        try:
            self._opened().write(entries)
        except (NeighbourUnavailableError, OSError) as error:
            self._is_full = True
            for one in entries:
                log.error(  # noqa: TRY400 - a line for each deed, and no trace
                    "No room in the audit log for %s of %s %s by %s %s.",
                    *(one.action, one.object_kind, one.object_id),
                    *(one.actor_kind, one.actor_id),
                )
            raise NeighbourUnavailableError(
                f"The audit log cannot be written ({error}); see SPOOL_DIR."
            ) from error
        self._is_full = False

    def close(self) -> None:
        """Write what waits; what ClickHouse does not take stays on the disk."""
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _opened(self) -> AuditWriter:
        with self._lock:
            if self._writer is None:
                self._writer = AuditWriter(*self._arguments, **self._limits)
            return self._writer


def audit_page(
    client: Client, *, tenant_id: UUID | None = None, after: str = "", most: int = 100
) -> tuple[list[dict[str, Any]], str | None]:
    """Return entries as the API shows them, newest first, and the next page's `after`.

    Args:
        client: The door to ClickHouse.
        tenant_id: Only this tenant's; everybody's and the system's when None.
        after: What the page before returned; `InvalidInputError` for anything else.
        most: How many entries.

    Raises:
        NeighbourUnavailableError: ClickHouse does not answer.
    """
    before_ms, before_id = _place(after)
    rows = client.rows(
        statement("audit_page"),
        {
            "of_one": tenant_id is not None,
            "tenant_id": tenant_id or _NOBODY,
            "before_ms": before_ms,
            "before_id": before_id,
            "most": most + 1,
        },
    )
    page = rows[:most]
    following = None
    if len(rows) > most:
        occurred_at, entry_id = page[-1][:2]
        following = f"{milliseconds(occurred_at)}.{entry_id}"
    return [_shown(*row) for row in page], following


def _place(after: str) -> tuple[int, UUID]:
    if not after:
        return _NEVER_MS, _ALL_IDS_ABOVE
    at_ms, _, entry_id = after.partition(".")
    try:
        return int(at_ms), UUID(entry_id)
    except ValueError as error:
        raise InvalidInputError(
            "'after' must be what the page before gave as 'next'.", field="after"
        ) from error


def _shown(  # noqa: PLR0917 - a row of audit_page.sql
    occurred_at: datetime,
    entry_id: UUID,
    tenant_id: UUID,
    actor_kind: str,
    actor_id: str,
    action: str,
    object_kind: str,
    object_id: str,
    details: str,
) -> dict[str, Any]:
    return {
        "id": str(entry_id),
        "at": occurred_at.isoformat(timespec="milliseconds"),
        "tenantId": None if tenant_id == _NOBODY else str(tenant_id),
        "actor": {"kind": actor_kind, "id": actor_id},
        "action": action,
        "object": {"kind": object_kind, "id": object_id},
        "details": orjson.loads(details) if details else {},
    }
