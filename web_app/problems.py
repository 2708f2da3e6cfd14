"""Every error as `application/problem+json` (RFC 9457); nothing internal leaks."""

import logging
from http import HTTPStatus

import orjson
from flask import Flask, Response
from werkzeug.exceptions import HTTPException

from models.errors import (
    BatchSenderError,
    ConflictError,
    InvalidInputError,
    NeighbourUnavailableError,
    NotFoundError,
)

#: When a caller may ask again after a neighbour was away, in seconds.
RETRY_AFTER_S = 5

_STATUS: dict[type[BatchSenderError], HTTPStatus] = {
    InvalidInputError: HTTPStatus.BAD_REQUEST,
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    NeighbourUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
}
# Our own sentences for what Werkzeug refuses; its texts speak of URLs and servers.
_SENTENCES = {
    400: "The request could not be read; see the API's documentation.",
    401: "Send your API key in the header 'Authorization: Bearer bs_…'.",
    403: "Your API key lacks the scope: read looks, send changes, admin is the "
    "operator's.",
    404: "There is nothing at this address; see the API's documentation.",
    405: "This address does not take that method; see the API's documentation.",
    413: "The body is too large; send the recipients in smaller parts.",
    415: "The body's Content-Type is not one that this address takes.",
}
_UNEXPECTED = "Something went wrong here; try again, and report it if it stays."

_log = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Make the application answer every error as a problem."""
    app.register_error_handler(BatchSenderError, _explained)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(Exception, _unexpected)


def problem(status: int, detail: str, field: str = "") -> Response:
    """Return an error's answer; `field` names what was wrong in the request."""
    body: dict[str, str | int] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
    }
    if field:
        body["field"] = field
    return Response(
        orjson.dumps(body), int(status), content_type="application/problem+json"
    )


def _explained(error: BatchSenderError) -> Response:
    status = _STATUS.get(type(error))
    if status is None:
        return _unexpected(error)
    if status is not HTTPStatus.SERVICE_UNAVAILABLE:
        return problem(status, str(error), getattr(error, "field", ""))
    # The sentence is the operator's: it may name a host.
    _log.warning("%s", error)
    answer = problem(
        status, "A server behind this one does not answer; try again in a moment."
    )
    answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer


def _refused(error: HTTPException) -> Response:
    status = error.code or 500
    answer = problem(status, _SENTENCES.get(status, _UNEXPECTED))
    if status == HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = "Bearer"
    for name, value in error.get_headers():
        if name == "Allow":
            answer.headers[name] = value
    return answer


def _unexpected(error: Exception) -> Response:
    # The text may hold a recipient's row, so only where it happened is logged.
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else "?"
    _log.error("Unexpected %s at %s", type(error).__name__, place)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, _UNEXPECTED)
