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

# A hold without an end outlasts one that has an end; the same again begins anew.
_HOLD = text(
    """
    update send_configs set held_reason = :reason,
        held_until = clock_timestamp() + make_interval(secs => :ends_after_s)
    where id = :config_id and (
        held_reason is null
        or (held_until is not null
            and (held_reason = :reason or cast(:ends_after_s as float) is null))
    )
    """
)
_PAUSE = text(
    """
    update batches set status = 'paused', reason = :reason
    where id = :batch_id and status = 'processing'
    """
)
# What was counted before is forgiven; the brake's figures are locked before the config,
# as whoever brakes does.
_FORGIVE = text(
    """
    delete from config_rates where config_id in (
        select id from send_configs where id = :config_id and tenant_id = :tenant_id
    )
    """
)
# Chunks that met the held config are unpublished already, with a new epoch.
_RELEASE = text(
    """
    update send_configs set held_reason = null, held_until = null
    where id = :config_id and tenant_id = :tenant_id
    returning id
    """
)
_LAPSED = text(
    """
    update send_configs set held_reason = null, held_until = null
    where held_until <= clock_timestamp()
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
    return hold_config(connection, plan.config_id, asked)


def hold_config(connection: Connection, config_id: str, asked: Hold) -> bool:
    """Stop a config until the hold's end, or until somebody resumes it.

    Tells whether that changed anything. The same hold again begins anew; one without
    an end outlasts the others.
    """
    given = {
        "config_id": config_id,
        "reason": asked.reason,
        "ends_after_s": asked.ends_after_s,
    }
    return connection.execute(_HOLD, given).rowcount > 0


def release_config(connection: Connection, tenant_id: UUID, config_id: UUID) -> None:
    """Let a config send again; `NotFoundError` when the tenant has none of that id.

    Its batches are taken up by the next discovery; the brake counts from nothing.
    """
    given = {"config_id": config_id, "tenant_id": tenant_id}
    connection.execute(_FORGIVE, given)
    if connection.execute(_RELEASE, given).scalar() is None:
        raise NotFoundError(
            "There is no such send config; list yours at GET /api/send-configs."
        )


def release_lapsed(connection: Connection) -> int:
    """Let configs send again whose holds have come to their end; returns how many."""
    return connection.execute(_LAPSED).rowcount


def suppress(connection: Connection, plan: Plan, reasons: Mapping[str, str]) -> None:
    """Put addresses on the tenant's list, with the reason; who is there stays."""
    mine = SuppressionList(UUID(plan.tenant_id), plan.channel)
    add_to_list(connection, mine, list(reasons), list(reasons.values()))
