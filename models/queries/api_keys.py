"""The keys that callers of the API show, and what each of them may do."""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast, get_args
from uuid import UUID

from sqlalchemy import Connection, func, insert, or_, select, update

from models.errors import InvalidInputError, NotFoundError
from models.tables import api_keys

#: `read` looks, `send` changes what is the tenant's, `admin` is the operator's own:
#: it reaches what belongs to no tenant, and other tenants' limits.
Scope = Literal["read", "send", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
#: What a key may do when nothing else is said: everything that is its tenant's.
TENANTS_OWN: tuple[Scope, ...] = ("read", "send")

_SHOWN = tuple(c for c in api_keys.columns if c.name not in ("digest", "tenant_id"))


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that is valid now.

    Attributes:
        id: Which key it is.
        tenant_id: Whose it is.
        scopes: What it may do.
    """

    id: UUID
    tenant_id: UUID
    scopes: frozenset[str]


def create_api_key(
    connection: Connection,
    tenant_id: UUID,
    name: str,
    *,
    scopes: Iterable[str] = TENANTS_OWN,
    expires_at: datetime | None = None,
) -> str:
    """Return a new key `bs_<prefix>_<secret>`, which can never be read again.

    Only its SHA-256 is kept: the secret has 256 random bits, so that a slow hash
    would protect nothing more.
    """
    prefix = secrets.token_hex(4)
    key = f"bs_{prefix}_{secrets.token_hex(32)}"
    connection.execute(
        insert(api_keys).values(
            tenant_id=tenant_id,
            name=name,
            prefix=prefix,
            digest=_digest(key),
            scopes=checked_scopes(scopes),
            expires_at=expires_at,
        )
    )
    return key


def checked_scopes(scopes: Iterable[str]) -> list[Scope]:
    """Return the scopes in their order, each once; `InvalidInputError` for others."""
    asked = set(scopes)
    if not asked or not asked <= set(SCOPES):
        raise InvalidInputError(
            f"'scopes' must be one or more of {', '.join(SCOPES)}.", field="scopes"
        )
    return [scope for scope in SCOPES if scope in asked]


def keys_of(connection: Connection, tenant_id: UUID) -> list[dict[str, Any]]:
    """Return what may be seen of a tenant's keys, the newest first."""
    found = connection.execute(
        select(*_SHOWN)
        .where(api_keys.c.tenant_id == tenant_id)
        .order_by(api_keys.c.created_at.desc(), api_keys.c.id)
    )
    return [dict(row) for row in found.mappings()]


def revoke_api_key(connection: Connection, tenant_id: UUID, prefix: str) -> None:
    """Make the tenant's key of that prefix useless from the next request on.

    Raises `NotFoundError` when no key of that prefix is in use.
    """
    done = connection.execute(
        update(api_keys)
        .where(
            api_keys.c.tenant_id == tenant_id,
            api_keys.c.prefix == prefix,
            api_keys.c.revoked_at.is_(None),
        )
        .values(revoked_at=func.now())
    )
    if not done.rowcount:
        raise NotFoundError(f"There is no key bs_{prefix}_… in use.")


def valid_key(connection: Connection, key: str) -> ApiKey | None:
    """Return what a key stands for; none when unknown, revoked or past its time."""
    row = connection.execute(
        select(api_keys.c.id, api_keys.c.tenant_id, api_keys.c.scopes).where(
            api_keys.c.digest == _digest(key),
            api_keys.c.revoked_at.is_(None),
            or_(
                api_keys.c.expires_at.is_(None),
                api_keys.c.expires_at > func.clock_timestamp(),
            ),
        )
    ).first()
    if row is None:
        return None
    return ApiKey(row.id, row.tenant_id, frozenset(cast("list[str]", row.scopes)))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
