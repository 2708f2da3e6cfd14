"""Reports of providers: verified, stored durably, and only then answered with 200.

A provider sends a report again until it gets its 200, so whatever cannot be stored is
answered with 503. Nothing is skipped: without a secret no report is believed.
"""

import hashlib
import logging
import time
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import orjson
from flask import Blueprint, Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from models.errors import InvalidInputError, NeighbourUnavailableError
from models.jobs import RecordWebhook
from providers.signatures import SignatureError, verify_standard_webhook

#: The largest report; providers keep to far less.
MAX_BODY_BYTES = 256 * 1024
#: When a provider may come back after a report could not be stored, in seconds.
RETRY_AFTER_S = 10

webhooks = Blueprint("webhooks", __name__, url_prefix="/webhooks")

_log = logging.getLogger(__name__)


class Publish(Protocol):
    """Stores a job durably before it returns."""

    def __call__(self, job: RecordWebhook, *, dedup_id: str) -> object:
        """Store the job, once for each `dedup_id` within the broker's window.

        Raises `NeighbourUnavailableError` when it is not known to be stored.
        """


@dataclass(frozen=True, slots=True)
class Receiver:
    """What the views of one application work with.

    Attributes:
        publish: Stores a job durably.
        custom_secret: The `whsec_…` secret of custom providers, or `""`.
    """

    NAME: ClassVar[str] = "receiver"

    publish: Publish
    custom_secret: str


def receiver() -> Receiver:
    """Return what the application that answers this request works with."""
    found: Receiver = current_app.extensions[Receiver.NAME]
    return found


@webhooks.post("/custom/<module_id>")
def custom(module_id: str) -> Response:
    """Take a report of a custom provider, signed as Standard Webhooks says.

    The id in the header names the report: sent again, it is stored once.
    """
    raw = _body()
    report_id = verify_standard_webhook(
        raw, request.headers, secret=receiver().custom_secret, now_s=time.time()
    )
    body = _report(raw)
    digest = hashlib.sha256(f"{module_id}\0{report_id}".encode()).hexdigest()
    job = RecordWebhook(
        provider="custom",
        event=body["type"],
        body=body,
        event_id=report_id,
        received_at=time.time(),
    )
    receiver().publish(job, dedup_id=f"custom:{digest}")
    return Response(status=200)


def register_errors(app: Flask) -> None:
    """Make the application answer errors without a word about itself."""
    app.register_error_handler(SignatureError, _unbelieved)
    app.register_error_handler(InvalidInputError, _unreadable)
    app.register_error_handler(NeighbourUnavailableError, _not_stored)
    app.register_error_handler(Exception, _unexpected)


def _body() -> bytes:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    raw = request.stream.read(MAX_BODY_BYTES + 1)
    if len(raw) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    return raw


def _report(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError("The report is not JSON.") from error
    if not isinstance(body, dict):
        raise InvalidInputError("The report must be a JSON object.")
    event = body.get("type")
    if not isinstance(event, str) or not 0 < len(event) <= 100:
        raise InvalidInputError(
            "The report must name its 'type' in 1 to 100 characters.", field="type"
        )
    return body


def _problem(status: int, detail: str) -> Response:
    body = {"type": "about:blank", "status": status, "detail": detail}
    return Response(orjson.dumps(body), status, content_type="application/problem+json")


def _unbelieved(error: SignatureError) -> Response:
    # Which part was wrong helps only who guesses.
    _log.warning("A report was refused: %s", error)
    return _problem(401, "The signature is missing, too old or not ours.")


def _unreadable(error: InvalidInputError) -> Response:
    return _problem(400, str(error))


def _not_stored(error: NeighbourUnavailableError) -> Response:
    _log.warning("A report was not stored: %s", error)
    answer = _problem(503, "The report could not be stored; send it again.")
    answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer


def _unexpected(error: Exception) -> Response:
    if isinstance(error, HTTPException):
        status = error.code or 500
        return _problem(status, "There is nothing here that takes this request.")
    # Its text may hold a recipient's address. A provider comes back after a 503.
    _log.error("Unexpected %s; the report was not stored", type(error).__name__)
    answer = _problem(503, "The report could not be stored; send it again.")
    answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer
