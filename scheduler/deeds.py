"""What duties do to batches and configs, noted where it happens, written in one place.

A duty notes a deed with one line; `timetable` writes down what a round noted, also of
a round that then failed. Written after the deed and failing open: whoever comes later
finds what was done in Postgres, and the log of this process tells what is missing.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from analytics.audit import ActorKind, AuditEntry
from analytics.audit_log import Actor, AuditLog
from models.database import Database
from models.errors import BatchSenderError
from models.queries.reads import audited_batches

log = logging.getLogger("batchsender.deeds")


@dataclass(frozen=True, slots=True)
class Noted:
    """One deed of a duty.

    Attributes:
        action: Such as `batch.finished`.
        kind: What it was done to, such as `batch`.
        object_id: Which one, as text; `""` for several at once.
        details: Whatever else tells; no address and no secret.
    """

    action: str
    kind: str
    object_id: str
    details: dict[str, Any] = field(default_factory=dict)


_round: ContextVar[list[Noted] | None] = ContextVar("deeds", default=None)


@contextmanager
def noted() -> Iterator[list[Noted]]:
    """Give the list that `note` fills until the end."""
    found: list[Noted] = []
    token = _round.set(found)
    try:
        yield found
    finally:
        _round.reset(token)


def note(action: str, kind: str, object_id: str = "", **details: Any) -> None:
    """Note a deed of the round that this thread is doing; outside of one nothing."""
    found = _round.get()
    if found is not None:
        found.append(Noted(action, kind, object_id, details))


class DutyAudit:
    """Writes down what duties noted, each for the tenant whose batch it is."""

    def __init__(self, database: Database, audit: AuditLog) -> None:
        self._database = database
        self._audit = audit

    def write(self, duty: str, deeds: Sequence[Noted]) -> None:
        """Write a round's deeds; single messages' are traffic and left out."""
        try:
            entries = self._entries(duty, deeds)
            if entries:
                self._audit.write(*entries)
        except BatchSenderError as error:
            log.warning("Deeds of %s are not in the audit log: %s", duty, error)

    def _entries(self, duty: str, deeds: Sequence[Noted]) -> list[AuditEntry]:
        ids = [UUID(one.object_id) for one in deeds if one.kind == "batch"]
        tenants = {}
        if ids:
            with self._database.statement() as connection:
                tenants = audited_batches(connection, ids)
        return [
            Actor(ActorKind.SYSTEM, duty, tenants.get(one.object_id)).did(
                one.action, one.kind, one.object_id, **one.details
            )
            for one in deeds
            if one.kind != "batch" or one.object_id in tenants
        ]
