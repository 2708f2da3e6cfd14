"""Reports of providers: verified, stored durably, and only then answered with 200.

A provider sends a report again until it gets its 200, so whatever cannot be stored is
answered with 503. Nothing is skipped: without a secret no report is believed.
"""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol
from uuid import UUID

import orjson
from flask import Blueprint, Flask, Response, abort, current_app, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from models.errors import (
    BatchSenderError,
    InvalidInputError,
    NeighbourUnavailableError,
    NotFoundError,
)
from models.jobs import RecordWebhook
from providers.signatures import SignatureError
from webhook_app.accounts import Accounts
from webhook_app.budget import Budget, Network, TooManyBadReportsError, source_of
from webhook_app.reports import Given, Reader

#: The largest report; providers keep to far less.
MAX_BODY_BYTES = 256 * 1024
#: When a provider may come back after a report could not be stored, in seconds.
RETRY_AFTER_S = 10
_NOTHING = "There is nothing here that takes this request."
_AGAIN = "The report could not be stored; send it again."

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
        accounts: By what secrets reports are believed.
        readers: How each provider's reports are proven and read.
        budget: Who sent too many bad ones.
        proxies: Whose word about a request's sender is believed.
    """

    NAME: ClassVar[str] = "receiver"

    publish: Publish
    accounts: Accounts
    readers: Mapping[str, Reader]
    budget: Budget = field(default_factory=Budget)
    proxies: Sequence[Network] = ()


def receiver() -> Receiver:
    """Return what the application that answers this request works with."""
    found: Receiver = current_app.extensions[Receiver.NAME]
    return found


@webhooks.post("/custom/<module_id>")
def custom(module_id: str) -> Response:
    """Take a report of a custom endpoint: of a tenant's config, or the platform's."""
    return _taken("custom", module_id)


@webhooks.post("/<any(resend, ses, telnyx):provider>")
def platform(provider: str) -> Response:
    """Take a report about what the platform's own account has sent."""
    return _taken(provider)


@webhooks.post("/<any(resend, ses, telnyx):provider>/<uuid:config_id>")
def tenant(provider: str, config_id: UUID) -> Response:
    """Take a report about what a tenant's own account has sent."""
    return _taken(provider, str(config_id))


def register_errors(app: Flask) -> None:
    """Make the application answer errors without a word about itself."""
    app.register_error_handler(SignatureError, _unbelieved)
    app.register_error_handler(InvalidInputError, _unreadable)
    app.register_error_handler(NotFoundError, _unknown)
    app.register_error_handler(TooManyBadReportsError, _too_many)
    app.register_error_handler(NeighbourUnavailableError, _not_stored)
    app.register_error_handler(Exception, _unexpected)


def _taken(provider: str, name: str = "") -> Response:
    """Prove the report and store it; who sent a bad one has one less to send."""
    work = receiver()
    source = source_of(request.environ, work.proxies)
    work.budget.check(source)
    try:
        _take(work, source, provider, name)
    except (SignatureError, InvalidInputError, NotFoundError, HTTPException):
        work.budget.take(source)
        raise
    return Response(status=200)


def _take(work: Receiver, source: str, provider: str, name: str) -> None:
    config_id, secrets = _account(work.accounts, provider, name)
    given = Given(
        raw=_body(),
        headers=request.headers,
        secrets=secrets,
        now_s=time.time(),
        is_suspect=work.budget.is_suspect(source),
    )
    report = work.readers[provider](given)
    work.budget.trust(source)
    if report is None:
        return
    # The id in the report names it: sent again, it is stored once.
    known_by = f"{name}\0{report.event_id}".encode()
    job = RecordWebhook(
        provider=provider,
        event=report.event,
        body=report.body,
        event_id=report.event_id,
        config_id=config_id,
        received_at=given.now_s,
    )
    work.publish(job, dedup_id=f"{provider}:{hashlib.sha256(known_by).hexdigest()}")


def _account(accounts: Accounts, provider: str, name: str) -> tuple[str | None, str]:
    """Return whose account it is, none for the platform's, and its secrets."""
    if not name:
        return None, accounts.of_platform(provider)
    if provider != "custom":
        return name, accounts.of_config(provider, name)
    try:
        config_id = str(UUID(name))
        return config_id, accounts.of_config(provider, config_id)
    except (ValueError, NotFoundError):
        # The name of an endpoint that the platform's secret is for.
        return None, accounts.of_platform(provider)


def _body() -> bytes:
    """Return the body's bytes; what is compressed is not unpacked, but refused."""
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        abort(415)
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    raw = request.stream.read(MAX_BODY_BYTES + 1)
    if len(raw) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    return raw


def _problem(status: int, detail: str, retry_after_s: int = 0) -> Response:
    body = {"type": "about:blank", "status": status, "detail": detail}
    kind = "application/problem+json"
    answer = Response(orjson.dumps(body), status, content_type=kind)
    if retry_after_s:
        answer.headers["Retry-After"] = str(retry_after_s)
    return answer


def _unbelieved(error: SignatureError) -> Response:
    # Which part was wrong helps only who guesses.
    _log.warning("A report was refused: %s", error)
    return _problem(401, "The signature is missing, too old or not ours.")


def _unreadable(error: InvalidInputError) -> Response:
    return _problem(400, str(error))


def _unknown(_: NotFoundError) -> Response:
    return _problem(404, _NOTHING)


def _too_many(error: TooManyBadReportsError) -> Response:
    return _problem(429, "Too many reports proved nothing; slow down.", error.wait_s)


def _not_stored(error: BatchSenderError) -> Response:
    _log.warning("A report was not stored: %s", error)
    return _problem(503, _AGAIN, RETRY_AFTER_S)


def _unexpected(error: Exception) -> Response:
    status = (error.code or 503) if isinstance(error, HTTPException) else 503
    if 300 <= status < 500:
        # There is nowhere to redirect to.
        return _problem(404 if status < 400 else status, _NOTHING)
    # Its text may hold a recipient's address. A provider comes back after a 503.
    _log.error("Unexpected %s; the report was not stored", type(error).__name__)
    return _problem(503, _AGAIN, RETRY_AFTER_S)
