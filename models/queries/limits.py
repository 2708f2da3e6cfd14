"""Overrides of limits, and the limits that apply with them.

Workers read all overrides every two seconds, so a change holds within seconds and
without a restart.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, select, text
from sqlalchemy.dialects.postgresql import insert

from models.capabilities import CREDENTIALS, capabilities
from models.errors import InvalidInputError, NotFoundError
from models.levels import MANAGED_PER_S, Level, Sending, levels
from models.limit import Limit
from models.tables import rate_limit_overrides as table

_CONFIG = text("select * from send_configs where id = :config_id")
_TENANT = text("select 1 from tenants where id = :tenant_id")

#: What a scope begins with; `system` stands alone.
_LEVELS = ("provider:", "tenant:", "config:", "requests:config:", "requests:provider:")


def overrides(connection: Connection) -> dict[str, Limit]:
    """Return all overridden limits by scope, such as `tenant:0193…`."""
    found = connection.execute(select(table.c.scope, table.c.per_s, table.c.burst))
    return {row.scope: Limit.of(row.per_s, row.burst) for row in found}


def override_rows(connection: Connection) -> list[dict[str, Any]]:
    """Return all overrides by scope, with their reasons."""
    found = connection.execute(select(table).order_by(table.c.scope))
    return [dict(row) for row in found.mappings()]


def set_override(
    connection: Connection,
    scope: str,
    *,
    per_s: float,
    burst: float | None = None,
    reason: str = "",
) -> None:
    """Replace a level's limit, as `models.levels` names its scope.

    Raises:
        InvalidInputError: No level has such a scope, or a number is not above zero.
            To stop sending altogether, hold the config or pause the batch.
    """
    if scope != "system" and not scope.startswith(_LEVELS):
        raise InvalidInputError(
            "A scope is system, provider:…, tenant:…, config:… or requests:….",
            field="scope",
        )
    if per_s <= 0 or (burst is not None and burst < 1):
        raise InvalidInputError(
            "A limit is above 0 a second, and its burst at least 1.", field="perSecond"
        )
    new = {"per_s": per_s, "burst": burst, "reason": reason}
    made = insert(table).values(scope=scope, **new)
    connection.execute(
        made.on_conflict_do_update(
            index_elements=[table.c.scope],
            set_={**new, "changed_at": text("clock_timestamp()")},
        )
    )


def remove_override(connection: Connection, scope: str) -> bool:
    """Let a level have its default again; tell whether there was an override."""
    done = connection.execute(delete(table).where(table.c.scope == scope))
    return done.rowcount > 0


def effective_limits(
    connection: Connection, config_id: UUID, *, system_per_s: float
) -> tuple[Level, ...]:
    """Return the levels that a config's next batch is sent under, and their sources.

    What a provider told of its own limit is not in it: Dragonfly holds that. Raises
    `NotFoundError` when there is no such config.
    """
    row = connection.execute(_CONFIG, {"config_id": config_id}).mappings().first()
    if row is None:
        raise NotFoundError(f"There is no send config {config_id}.")
    sending = Sending(
        tenant_id=str(row["tenant_id"]),
        config_id=str(config_id),
        provider=row["provider"],
        able=capabilities(row["provider"], row["settings"]),
        managed=row["mode"] == "managed",
        limit=Limit(row["rate_per_s"], row["rate_burst"]),
    )
    return levels(sending, overrides(connection), system_per_s=system_per_s)


@dataclass(frozen=True, slots=True)
class Effective:
    """One level's limit as it is now, whoever sends.

    Attributes:
        per_s: Tokens a second; none where nothing limits.
        burst: Tokens that can be saved up; none where each config's calls decide it.
        source: Where it comes from: `override`, `config`, `default`, or `none`.
    """

    per_s: float | None
    burst: float | None
    source: str


def limit_of(
    connection: Connection, level: str, of: str, *, system_per_s: float
) -> Effective:
    """Return one level's limit and where it comes from.

    Args:
        connection: To read by.
        level: `system`, `provider`, `tenant` or `config`.
        of: Whose: the provider's name, or the tenant's or config's id; `""` for the
            system.
        system_per_s: The system's limit by default.

    Raises:
        NotFoundError: There is no such level, provider, tenant or config.
    """
    usual = _usual(connection, level, of, system_per_s=system_per_s)
    replaced = overrides(connection).get(f"{level}:{of}" if of else level)
    if replaced is None:
        return usual
    return Effective(replaced.per_s, replaced.burst, "override")


def _usual(
    connection: Connection, level: str, of: str, *, system_per_s: float
) -> Effective:
    """Return a level's limit without an override."""
    if level == "system" and not of:
        limit = Limit.of(system_per_s)
        return Effective(limit.per_s, limit.burst, "default")
    if level == "provider" and of in CREDENTIALS:
        return Effective(MANAGED_PER_S, None, "default")
    if level == "tenant" and connection.scalar(_TENANT, {"tenant_id": _id(of)}):
        return Effective(None, None, "none")
    row = None
    if level == "config":
        row = connection.execute(_CONFIG, {"config_id": _id(of)}).mappings().first()
    if row is None:
        raise NotFoundError(f"There is no {level} {of}".rstrip() + ".")
    return Effective(row["rate_per_s"], row["rate_burst"], "config")


def _id(of: str) -> UUID:
    try:
        return UUID(of)
    except ValueError as error:
        raise NotFoundError(f"There is nothing with the id {of!r}.") from error
