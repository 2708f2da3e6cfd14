"""Which config a new one may fall back on."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from models.errors import InvalidInputError, NotFoundError
from models.queries.tenants import NewConfig, config_by_id, config_by_name
from web_app.bodies import text_field

_FIELD = "fallback"


def fallback_of(
    connection: Connection, tenant_id: UUID, config: NewConfig, body: Mapping[str, Any]
) -> UUID:
    """Return the id of the config that a body names by its name or id.

    Raises `InvalidInputError` where the tenant has none, or the new config cannot fall
    back on it. It exists before the new one does and names another for ever or none,
    so no config falls back on itself by way of others; and of several, one step is
    taken (ADR 0040).
    """
    other = _named(connection, tenant_id, text_field(body, _FIELD))
    if other["channel"] != config.channel:
        raise InvalidInputError(
            f"The fall-back sends by {other['channel']!r} and not by "
            f"{config.channel!r}; choose one of the same channel.",
            field=_FIELD,
        )
    is_managed = config.mode == other["mode"] == "managed"
    if is_managed and config.provider == other["provider"]:
        raise InvalidInputError(
            f"Both use the platform's account at {config.provider}, which would fail "
            "for both.",
            field=_FIELD,
        )
    return UUID(str(other["id"]))


def _named(connection: Connection, tenant_id: UUID, name: str) -> Mapping[str, Any]:
    """Return the tenant's config of that name; else of that id."""
    with suppress(NotFoundError):
        return config_by_name(connection, tenant_id, name)
    try:
        return config_by_id(connection, tenant_id, UUID(name))
    except (ValueError, NotFoundError) as error:
        raise InvalidInputError(
            "There is no such send config to fall back on; make it first.",
            field=_FIELD,
        ) from error
