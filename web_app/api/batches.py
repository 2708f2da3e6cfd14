"""Batches: made, listed and looked at."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from flask import Blueprint, Response, abort, request
from sqlalchemy import Connection

from models.addresses import Channel
from models.errors import InvalidInputError, NeighbourUnavailableError, NotFoundError
from models.payload import checked_payload
from models.queries.reads import batch_by_id, batch_page, sent_by_fallback, stations
from models.queries.tenants import config_by_id, config_by_name
from models.queries.uploads import INLINE_PART, create_batch, take_part
from models.recipients import Format, read
from models.status import OUTCOMES, BatchStatus
from web_app.auth import caller
from web_app.bodies import (
    answer,
    id_of,
    json_object,
    mapping_field,
    number_argument,
    only,
    text_field,
    time_field,
    within,
)
from web_app.problems import problem
from web_app.services import breaker_seen, services

batches = Blueprint("batches", __name__, url_prefix="/api/batches")

_FIELDS = frozenset(
    {"name", "sendConfigId", "sendConfig", "payload", "recipients", "scheduledAt"}
)
_PAGE = 50


@batches.post("")
def create() -> Response:
    """Make a draft, with its recipients if they are given: 201."""
    tenant_id = caller()
    body = json_object()
    only(body, _FIELDS)
    name = text_field(body, "name", default="Batch")
    payload = given_payload(body)
    scheduled_at = time_field(body, "scheduledAt")
    with services().database.transaction() as connection:
        config = chosen_config(connection, tenant_id, body)
        batch_id = create_batch(
            connection, config, name=name, payload=payload, scheduled_at=scheduled_at
        )
        if body.get("recipients") is not None:
            _add_inline(connection, tenant_id, batch_id, body["recipients"])
        row = batch_by_id(connection, tenant_id, batch_id)
    return answer(shown(row), 201)


@batches.get("")
def index() -> Response:
    """Show the tenant's batches, newest first, page by page."""
    tenant_id = caller()
    limit = number_argument("limit", default=_PAGE, least=1, most=500)
    after = request.args.get("after")
    last = None if after is None else id_of(after, "after")
    with services().database.statement() as connection:
        rows = batch_page(connection, tenant_id, after=last, limit=limit + 1)
    page = rows[:limit]
    following = page[-1]["id"] if len(rows) > limit else None
    waits = _shortages(page)
    found = [shown(row) | {"limitedBy": waits.get(str(row["id"]))} for row in page]
    return answer({"batches": found, "next": following})


@batches.get("/<uuid:batch_id>")
def show(batch_id: UUID) -> Response:
    """Show a batch, its live counts and the times of its stations."""
    tenant_id = caller()
    with services().database.statement() as connection:
        row = batch_by_id(connection, tenant_id, batch_id)
        times = stations(connection, row)
        sent_by = _sent_by(connection, row)
    return answer(
        {
            **shown(row),
            "sentBy": sent_by,
            "reason": row["reason"] or _waits_for(row),
            "live": _live(row),
            "limitedBy": _shortages([row]).get(str(row["id"])),
            "stations": [
                {
                    "name": station.name,
                    "startedAt": station.started_at,
                    "endedAt": station.ended_at,
                    "seconds": station.seconds,
                }
                for station in times
            ],
        }
    )


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch as the API shows it.

    `live` and `sentBy` are counted only for a single one, `limitedBy` looked up only
    where shown.
    """
    return {
        "id": row["id"],
        "name": row["name"],
        "status": row["status"],
        "reason": row["reason"],
        "sendConfig": row["config_name"],
        "createdAt": row["created_at"],
        "scheduledAt": row["scheduled_at"],
        "queuedAt": row["queued_at"],
        "startedAt": row["started_at"],
        "finishedAt": row["finished_at"],
        "rows": row["rows"],
        "recipients": row["recipients"],
        "duplicates": row["duplicates"],
        "invalid": row["invalid"],
        "counts": {str(outcome): row[str(outcome)] for outcome in OUTCOMES},
        "fallback": row["fallback_name"],
        "sentBy": None,
        "live": None,
        "limitedBy": None,
    }


def _sent_by(connection: Connection, row: Mapping[str, Any]) -> dict[str, int] | None:
    """Return by config how many were sent; none where there is no other config."""
    if row["fallback_name"] is None:
        return None
    sent, by_fallback = sent_by_fallback(connection, row["id"])
    return {row["config_name"]: sent - by_fallback, row["fallback_name"]: by_fallback}


def _waits_for(row: Mapping[str, Any]) -> str | None:
    """Return why a running batch does not move, if its config tells."""
    if row["status"] != "processing":
        return None
    if row["held_reason"] is not None:
        return str(row["held_reason"])
    seen = breaker_seen(row["config_id"])
    return (seen.reason(row["fallback_name"]) or None) if seen else None


def _live(row: Mapping[str, Any]) -> Mapping[str, int] | None:
    """Return the counts of this moment; none where nobody counts or nobody answers."""
    count = services().neighbours.live_counts
    if count is None or row["started_at"] is None or row["finished_at"] is not None:
        return None
    try:
        return count(str(row["id"]))
    except NeighbourUnavailableError:
        return None


def _shortages(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """Return by batch what it waits for; nothing where nobody answers."""
    find = services().neighbours.shortages
    moving = [str(row["id"]) for row in rows if row["status"] == BatchStatus.PROCESSING]
    if find is None or not moving:
        return {}
    try:
        return find(moving)
    except NeighbourUnavailableError:
        return {}


def given_payload(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a body's payload when it can be read; `InvalidInputError` else."""
    payload = mapping_field(body, "payload", required=True)
    if not payload:
        raise InvalidInputError(
            "The payload is empty; give it a text, html or data.", field="payload"
        )
    with within("payload"):
        return checked_payload(payload)


def chosen_config(
    connection: Connection, tenant_id: UUID, body: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the config that a body names by `sendConfigId` or `sendConfig`."""
    by_id = body.get("sendConfigId")
    try:
        if by_id is not None:
            config_id = id_of(by_id, "sendConfigId")
            return config_by_id(connection, tenant_id, config_id)
        return config_by_name(connection, tenant_id, text_field(body, "sendConfig"))
    except NotFoundError as error:
        abort(problem(404, str(error), "sendConfig"))


def _add_inline(
    connection: Connection, tenant_id: UUID, batch_id: UUID, given: Any
) -> None:
    if not isinstance(given, list):
        raise InvalidInputError(
            "'recipients' must be an array of objects.", field="recipients"
        )
    if not given:
        return
    channel = Channel(batch_by_id(connection, tenant_id, batch_id)["channel"])
    blocks = read([orjson.dumps(given)], upload_format=Format.JSON, channel=channel)
    take_part(connection, tenant_id, batch_id, INLINE_PART, blocks)
