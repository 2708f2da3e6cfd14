"""Stopping a config or an address, by what a provider said, and going on again.

Each is one statement; a second time changes nothing.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from models.errors import NotFoundError
from models.outcome import Hold
from models.plan import Plan
from models.queries.suppressions import SuppressionList, add_to_list

_HOLD = text(
    """
    update send_configs set held_reason = :reason
    where id = :config_id and held_reason is null
    """
)
_PAUSE = text(
    """
    update batches set status = 'paused', reason = :reason
    where id = :batch_id and status = 'processing'
    """
)
# Chunks that met the held config are unpublished already, with a new epoch.
_RELEASE = text(
    """
    update send_configs set held_reason = null
    where id = :config_id and tenant_id = :tenant_id
    returning id
    """
)


def hold(connection: Connection, plan: Plan, asked: Hold) -> bool:
    """Stop what a provider wants stopped; tell whether it was going on before.

    A sender that the batch names itself stops the batch; the config's own sender, and
    all else, stops the config. Calls that were begun are finished.
    """
    names_sender = "from" in plan.content
    if asked.scope == "sender" and names_sender:
        given: dict[str, Any] = {"batch_id": plan.batch_id, "reason": asked.reason}
        return connection.execute(_PAUSE, given).rowcount > 0
    given = {"config_id": plan.config_id, "reason": asked.reason}
    return connection.execute(_HOLD, given).rowcount > 0


def release_config(connection: Connection, tenant_id: UUID, config_id: UUID) -> None:
    """Let a config send again; `NotFoundError` when the tenant has none of that id.

    Its batches are taken up by the next discovery.
    """
    given = {"config_id": config_id, "tenant_id": tenant_id}
    if connection.execute(_RELEASE, given).scalar() is None:
        raise NotFoundError(
            "There is no such send config; list yours at GET /api/send-configs."
        )


def suppress(connection: Connection, plan: Plan, reasons: Mapping[str, str]) -> None:
    """Put addresses on the tenant's list, with the reason; who is there stays."""
    mine = SuppressionList(UUID(plan.tenant_id), plan.channel)
    add_to_list(connection, mine, list(reasons), list(reasons.values()))
