"""Requests that are done once, however often their caller sends them.

The key is claimed before the request does anything, so of two at the same time one
is done. What became of it is stored after it was done: a process that dies between
leaves a key that nobody answers for; it may be claimed again after a minute.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from models.errors import ConflictError, InvalidInputError

#: How long a key is known, in hours.
KEPT_H = 24
#: A request that has not ended by then never will, in seconds.
_LONGEST_S = 60

# An old key begins anew, and so does one whose request ended with its process.
_CLAIM = text(
    f"""
    insert into idempotency_keys as mine (tenant_id, key, fingerprint)
    values (:tenant_id, :key, :fingerprint)
    on conflict (tenant_id, key) do update
    set fingerprint = excluded.fingerprint, started_at = clock_timestamp(),
        status = null, answer = null
    where mine.started_at < clock_timestamp() - interval '{KEPT_H} hours'
        or (mine.status is null and mine.fingerprint = excluded.fingerprint
            and mine.started_at < clock_timestamp() - interval '{_LONGEST_S} seconds')
    returning 1
    """
)
_KNOWN = text(
    """
    select fingerprint, status, answer from idempotency_keys
    where tenant_id = :tenant_id and key = :key
    """
)
_DONE = text(
    """
    update idempotency_keys set status = :status, answer = :answer
    where tenant_id = :tenant_id and key = :key
    """
)
_FREE = text("delete from idempotency_keys where tenant_id = :tenant_id and key = :key")
_OLD = text(
    f"""
    delete from idempotency_keys
    where started_at < clock_timestamp() - interval '{KEPT_H} hours'
    """
)


@dataclass(frozen=True, slots=True)
class Key:
    """A caller's name for a request.

    Attributes:
        tenant_id: Whose it is.
        key: As the caller gave it.
        fingerprint: A digest of what is asked.
    """

    tenant_id: UUID
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """What a request was answered before: its status and body."""

    status: int
    body: bytes


def claim(connection: Connection, key: Key) -> Answered | None:
    """Return the answer that there is; none when the request is to be done now.

    Raises:
        ConflictError: The same request is being done.
        InvalidInputError: The key stands for another request.
    """
    named = {"tenant_id": key.tenant_id, "key": key.key}
    asked = named | {"fingerprint": key.fingerprint}
    if connection.execute(_CLAIM, asked).first() is not None:
        return None
    found = connection.execute(_KNOWN, named).first()
    if found is None or (
        found.status is None and bytes(found.fingerprint) == key.fingerprint
    ):
        raise ConflictError(
            "The request with this Idempotency-Key is being done; ask again soon."
        )
    if bytes(found.fingerprint) != key.fingerprint:
        raise InvalidInputError(
            "This Idempotency-Key stands for another request; choose a new one.",
            field="Idempotency-Key",
        )
    return Answered(found.status, bytes(found.answer))


def remember(connection: Connection, key: Key, answered: Answered) -> None:
    """Store what a request was answered."""
    connection.execute(
        _DONE,
        {
            "tenant_id": key.tenant_id,
            "key": key.key,
            "status": answered.status,
            "answer": answered.body,
        },
    )


def free(connection: Connection, key: Key) -> None:
    """Let the key be used again: its request changed nothing."""
    connection.execute(_FREE, {"tenant_id": key.tenant_id, "key": key.key})


def forget_old_keys(connection: Connection) -> int:
    """Delete the keys of yesterday; returns how many."""
    return connection.execute(_OLD).rowcount
