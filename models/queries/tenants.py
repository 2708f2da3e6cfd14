"""Tenants and the configs they send by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from models.errors import ConflictError, NotFoundError
from models.limit import Limit
from models.patience import PATIENCE, Patience
from models.plan import Mode, Policy
from models.tables import send_configs, tenants

_FALLBACK = send_configs.alias("fallback")
_HIDDEN = ("credentials", "webhook_secret", "webhook_revision", "webhook_published")
#: What a tenant may see of a config: everything but its credentials and secrets, and
#: with `fallback` the name of its fall-back.
_SHOWN = (
    *(c for c in send_configs.columns if c.name not in _HIDDEN),
    send_configs.c.webhook_secret.is_not(None).label("has_webhook_secret"),
    select(_FALLBACK.c.name)
    .where(_FALLBACK.c.id == send_configs.c.fallback_id)
    .scalar_subquery()
    .label("fallback"),
)


@dataclass(frozen=True, slots=True)
class NewConfig:
    """A config as it is to be stored, checked before.

    Attributes:
        name: Unique among the tenant's.
        channel: `email`, `sms` or `webhook`.
        provider: The provider's name.
        settings: What `models.capabilities.checked_settings` returned.
        credentials: What `models.credentials.seal` returned, or none.
        limit: The rate of its calls.
        policy: What to do about outcomes that stay unknown.
        patience: When a refusal for now becomes one for good.
        mode: Whose account sends; a managed config has no credentials.
        defaults: What `models.payload.checked_defaults` returned.
        fallback_id: The config that is taken while this one's provider fails: one of
            the same tenant and channel, which exists already, so that there is no
            circle.
    """

    name: str
    channel: str
    provider: str
    settings: Mapping[str, Any]
    credentials: bytes | None
    limit: Limit
    policy: Policy
    patience: Patience = PATIENCE
    mode: Mode = "byok"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fallback_id: UUID | None = None


def create_tenant(connection: Connection, name: str) -> UUID:
    """Return the new tenant's id; `ConflictError` when the name is taken."""
    made = connection.execute(
        insert_or(tenants)
        .values(name=name)
        .on_conflict_do_nothing()
        .returning(tenants.c.id)
    ).scalar()
    if made is None:
        raise ConflictError(f"There is a tenant {name!r} already; choose another name.")
    return UUID(str(made))


def tenant_named(connection: Connection, name: str) -> UUID | None:
    """Return the id of the tenant of that name, if there is one."""
    found = connection.execute(select(tenants.c.id).where(tenants.c.name == name))
    return found.scalar()


def all_tenants(connection: Connection) -> list[dict[str, Any]]:
    """Return all tenants by name."""
    found = connection.execute(select(tenants).order_by(tenants.c.name))
    return [dict(row) for row in found.mappings()]


def create_config(
    connection: Connection, tenant_id: UUID, config: NewConfig
) -> dict[str, Any]:
    """Return the new config's row; `ConflictError` when the tenant has the name."""
    made = connection.execute(
        insert_or(send_configs)
        .values(
            tenant_id=tenant_id,
            name=config.name,
            channel=config.channel,
            provider=config.provider,
            settings=dict(config.settings),
            credentials=config.credentials,
            rate_per_s=config.limit.per_s,
            rate_burst=config.limit.burst,
            policy=config.policy,
            retry_for_s=config.patience.for_s,
            retry_times=config.patience.times,
            mode=config.mode,
            defaults=dict(config.defaults),
            fallback_id=config.fallback_id,
        )
        .on_conflict_do_nothing()
        .returning(send_configs.c.id)
    ).scalar()
    if made is None:
        raise ConflictError(
            f"There is a send config {config.name!r} already; choose another name."
        )
    return config_by_id(connection, tenant_id, made)


def configs(connection: Connection, tenant_id: UUID) -> list[dict[str, Any]]:
    """Return the tenant's configs by name, without their credentials."""
    found = connection.execute(
        select(*_SHOWN)
        .where(send_configs.c.tenant_id == tenant_id)
        .order_by(send_configs.c.name)
    )
    return [dict(row) for row in found.mappings()]


def config_by_id(
    connection: Connection, tenant_id: UUID, config_id: UUID
) -> dict[str, Any]:
    """Return one config; `NotFoundError` when the tenant has none of that id."""
    return _config(connection, tenant_id, send_configs.c.id == config_id)


def config_by_name(
    connection: Connection, tenant_id: UUID, name: str
) -> dict[str, Any]:
    """Return one config; `NotFoundError` when the tenant has none of that name."""
    return _config(connection, tenant_id, send_configs.c.name == name)


def fallback_config(
    connection: Connection, config: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the config that a config falls back on; mostly none."""
    if config["fallback_id"] is None:
        return None
    which = send_configs.c.id == UUID(str(config["fallback_id"]))
    return _config(connection, UUID(str(config["tenant_id"])), which)


def _config(
    connection: Connection, tenant_id: UUID, which: ColumnElement[bool]
) -> dict[str, Any]:
    row = (
        connection.execute(
            select(*_SHOWN).where(send_configs.c.tenant_id == tenant_id, which)
        )
        .mappings()
        .first()
    )
    if row is None:
        raise NotFoundError(
            "There is no such send config; list yours at GET /api/send-configs."
        )
    return dict(row)
