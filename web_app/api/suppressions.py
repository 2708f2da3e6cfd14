"""A tenant's lists of addresses that nothing is sent to, one for each channel."""

from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import UnsupportedMediaType

from models.addresses import Channel
from models.errors import InvalidInputError
from models.queries.suppressions import (
    SuppressionList,
    import_to_list,
    list_page,
    remove_from_list,
)
from models.recipients import read
from web_app.api.recipients import FORMATS
from web_app.auth import caller
from web_app.bodies import answer, number_argument, whole_body
from web_app.services import services

suppressions = Blueprint("suppressions", __name__, url_prefix="/api/suppressions")

_PAGE = 1000


@suppressions.post("")
def add() -> Response:
    """Put addresses on the list, from CSV, NDJSON or a JSON array as recipients are.

    The same again changes nothing. From 2 s later on nobody of them is called, also of
    batches that are under way.
    """
    mine = _mine()
    upload_format = FORMATS.get(request.mimetype)
    if upload_format is None:
        raise UnsupportedMediaType
    with whole_body(services().max_upload_bytes) as pieces:
        blocks = read(
            pieces, upload_format=upload_format, channel=Channel(mine.channel)
        )
        with services().database.transaction() as connection:
            done = import_to_list(connection, mine, blocks)
    return answer(done.as_json())


@suppressions.get("")
def index() -> Response:
    """Show the list by address, page by page."""
    mine = _mine()
    limit = number_argument("limit", default=_PAGE, least=1, most=10_000)
    after = request.args.get("after", "")
    with services().database.statement() as connection:
        rows = list_page(connection, mine, after=after, limit=limit + 1)
    page = rows[:limit]
    following = page[-1]["address"] if len(rows) > limit else None
    return answer({"suppressions": [_shown(row) for row in page], "next": following})


@suppressions.delete("")
def remove() -> Response:
    """Take an address off the list: 204; 404 when it is not there."""
    mine = _mine()
    address = request.args.get("address")
    if not address:
        raise InvalidInputError(
            "Name the address that shall be taken off.", field="address"
        )
    with services().database.statement() as connection:
        remove_from_list(connection, mine, address)
    return Response(status=204)


def _mine() -> SuppressionList:
    """Return the caller's list of the channel that the query names."""
    tenant_id = caller()
    channel = request.args.get("channel", Channel.EMAIL)
    try:
        return SuppressionList(tenant_id, Channel(channel))
    except ValueError as error:
        known = ", ".join(Channel)
        raise InvalidInputError(
            f"There is no channel {channel!r}; choose one of {known}.", field="channel"
        ) from error


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "address": row["address"],
        "reason": row["reason"],
        "createdAt": row["created_at"],
    }
