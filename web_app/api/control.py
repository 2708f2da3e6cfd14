"""What a tenant does to a batch: send, pause, resume, cancel."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Blueprint, Response
from sqlalchemy import Connection

from models.content import Content
from models.errors import ConflictError, InvalidInputError
from models.message import Templates
from models.payload import content_of
from models.queries.control import (
    cancel_batch,
    locked_batch,
    pause_batch,
    queue_batch,
    resume_batch,
)
from models.queries.reads import batch_by_id
from models.status import BatchStatus
from web_app.api.batches import shown
from web_app.auth import caller
from web_app.bodies import answer, json_object, only, time_field
from web_app.sealing import sealed
from web_app.services import services

control = Blueprint("control", __name__, url_prefix="/api/batches/<uuid:batch_id>")


@control.post("/send")
def send(batch_id: UUID) -> Response:
    """Seal and queue a draft: 202. From now on nobody can be added."""
    tenant_id = caller()
    body = json_object()
    only(body, frozenset({"scheduledAt"}))
    scheduled_at = time_field(body, "scheduledAt")
    with services().database.transaction() as connection:
        batch = locked_batch(connection, tenant_id, batch_id)
        content = Content.of(content_of(batch, batch["config"]))
        _check_sendable(batch, content)
        plan = sealed(
            connection, batch, content, largest_chunk=services().largest_chunk
        )
        queue_batch(connection, batch, plan, scheduled_at=scheduled_at)
        return _shown(connection, tenant_id, batch_id, 202)


@control.post("/pause")
def pause(batch_id: UUID) -> Response:
    """Stop a batch after the calls that are under way."""
    tenant_id = caller()
    with services().database.transaction() as connection:
        pause_batch(connection, tenant_id, batch_id)
        return _shown(connection, tenant_id, batch_id)


@control.post("/resume")
def resume(batch_id: UUID) -> Response:
    """Let a paused batch go on."""
    tenant_id = caller()
    with services().database.transaction() as connection:
        resume_batch(connection, tenant_id, batch_id)
        return _shown(connection, tenant_id, batch_id)


@control.post("/cancel")
def cancel(batch_id: UUID) -> Response:
    """End a batch: who was not called yet never will be."""
    tenant_id = caller()
    with services().database.transaction() as connection:
        cancel_batch(connection, tenant_id, batch_id)
        return _shown(connection, tenant_id, batch_id)


def _shown(
    connection: Connection, tenant_id: UUID, batch_id: UUID, status: int = 200
) -> Response:
    return answer(shown(batch_by_id(connection, tenant_id, batch_id)), status)


def _check_sendable(batch: Mapping[str, Any], content: Content) -> None:
    """Raise when the batch cannot be sent as it is; nothing was changed then."""
    if batch["status"] != BatchStatus.DRAFT:
        raise ConflictError(f"The batch is {batch['status']}; only a draft is sent.")
    if not batch["recipients"]:
        raise InvalidInputError("The batch has no recipients; upload some first.")
    templates = Templates.compile(content)
    missing = sorted(templates.missing_everywhere(batch["variable_names"]))
    if missing:
        raise InvalidInputError(
            f"The templates name {', '.join(missing)}, which no recipient has; "
            "correct the templates or upload that column.",
            field="payload",
        )
