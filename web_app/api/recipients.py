"""A batch's recipients: uploaded in parts, and looked at."""

from typing import Any
from uuid import UUID

from flask import Blueprint, Response, request
from werkzeug.exceptions import UnsupportedMediaType

from models.addresses import Channel
from models.errors import InvalidInputError
from models.queries.reads import batch_by_id, recipient_page
from models.queries.uploads import PartAnswer, stored_answer, take_part
from models.recipients import Format, read
from models.status import RecipientStatus
from web_app.api.analytics import standing_page
from web_app.auth import caller
from web_app.bodies import answer, number_argument, whole_body
from web_app.services import services

recipients = Blueprint(
    "recipients", __name__, url_prefix="/api/batches/<uuid:batch_id>/recipients"
)

#: How an upload is written, by its content type.
FORMATS = {
    "text/csv": Format.CSV,
    "application/x-ndjson": Format.NDJSON,
    "application/json": Format.JSON,
}
_LARGEST_PART = 1_000_000_000
_PAGE = 1000


@recipients.post("")
def upload(batch_id: UUID) -> Response:
    """Take one part, once: the same part again gets the stored answer."""
    tenant_id = caller()
    part = number_argument("part", default=None, least=0, most=_LARGEST_PART)
    upload_format = FORMATS.get(request.mimetype)
    if upload_format is None:
        raise UnsupportedMediaType
    with whole_body(services().max_upload_bytes) as pieces:
        with services().database.statement() as connection:
            batch = batch_by_id(connection, tenant_id, batch_id)
            before = stored_answer(connection, batch_id, part)
        if before is not None:
            return _answer(before)
        channel = Channel(batch["channel"])
        blocks = read(pieces, upload_format=upload_format, channel=channel)
        with services().database.transaction() as connection:
            return _answer(take_part(connection, tenant_id, batch_id, part, blocks))


@recipients.get("")
def index(batch_id: UUID) -> Response:
    """Show recipients by seq, all or those of one status.

    With `addresses=false` they come from the event log, not from Postgres.
    """
    tenant_id = caller()
    if request.args.get("addresses") == "false":
        return standing_page(tenant_id, batch_id, _status())
    limit = number_argument("limit", default=_PAGE, least=1, most=10_000)
    after = number_argument("after", default=-1, least=-1, most=2**31 - 1)
    status = _status()
    with services().database.statement() as connection:
        batch = batch_by_id(connection, tenant_id, batch_id)
        page = recipient_page(
            connection, batch, status=status, after=after, limit=limit
        )
    return answer(
        {"recipients": [_shown(r) for r in page.rows], "next": page.following}
    )


def _answer(taken: PartAnswer) -> Response:
    response = answer(taken.body)
    if taken.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def _status() -> RecipientStatus | None:
    wanted = request.args.get("status")
    if not wanted:
        return None
    try:
        return RecipientStatus(wanted)
    except ValueError as error:
        known = ", ".join(RecipientStatus)
        raise InvalidInputError(
            f"There is no status {wanted!r}; choose one of {known}.", field="status"
        ) from error


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "seq": row["seq"],
        "address": row["address"],
        "status": row["status"],
        "providerMessageId": row["provider_message_id"],
        "error": row["error"],
    }
