"""Reports of providers: verified, stored durably, and only then answered with 200.

A provider sends a report again until it gets its 200, so whatever cannot be stored is
answered with 503. Nothing is skipped: without a secret no report is believed.

This is plain WSGI in front of Flask, which would cost three times as much as all that
is done here for a report. See ADR 0042.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import orjson

from middleware.request_times import NO_ROUTE, RequestTimes
from models.errors import (
    InvalidInputError,
    NeighbourUnavailableError,
    NotFoundError,
)
from models.jobs import RecordWebhook
from providers.signatures import SignatureError
from webhook_app.accounts import Accounts
from webhook_app.budget import Budget, Network, SlowDownError, source_of
from webhook_app.reading import Reading
from webhook_app.reports import Given, Reader
from webhook_app.requests import Headers, Refused

#: What the paths of reports begin with.
PREFIX = "/webhooks/"
#: When a provider may come back after a report could not be stored, in seconds.
RETRY_AFTER_S = 10

_log = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Publish(Protocol):
    """Stores a job durably before it returns."""

    def __call__(self, job: RecordWebhook, *, dedup_id: str) -> object:
        """Store the job, once for each `dedup_id` within the broker's window.

        Raises `NeighbourUnavailableError` when it is not known to be stored.
        """


class Problem(NamedTuple):
    """An answer that is no 200.

    Attributes:
        status: 4xx or 503.
        detail: What its reader may know.
        retry_after_s: When to come again; 0 says nothing of it.
    """

    status: int
    detail: str
    retry_after_s: int = 0


@dataclass(frozen=True, slots=True)
class Receiver:
    """Takes reports; any number of threads.

    Attributes:
        publish: Stores a job durably.
        accounts: By what secrets reports are believed.
        readers: How each provider's reports are proven and read.
        budget: Who sent too many bad ones.
        reading: Reads bodies, and not too many slow ones.
        proxies: Whose word about a request's sender is believed.
    """

    publish: Publish
    accounts: Accounts
    readers: Mapping[str, Reader]
    budget: Budget = field(default_factory=Budget)
    reading: Reading = field(default_factory=Reading)
    proxies: Sequence[Network] = ()

    def in_front_of(self, application: Application) -> Application:
        """Return an application that takes reports, and leaves the rest to another."""
        times = RequestTimes("webhook")

        def answer(
            environ: dict[str, Any], start_response: Callable[..., Any]
        ) -> Iterable[bytes]:
            if not environ.get("PATH_INFO", "").startswith(PREFIX):
                return application(environ, start_response)
            began = time.perf_counter()
            problem = self._answer(environ)
            status = problem.status if problem else 200
            times.saw("POST", self._route(environ), status, time.perf_counter() - began)
            if problem is None:
                start_response("200 OK", [("Content-Length", "0")])
                return []
            return _told(problem, start_response)

        return answer

    def _route(self, environ: Mapping[str, Any]) -> str:
        """Return what a request is counted as: no text of the caller's own."""
        provider = environ["PATH_INFO"].removeprefix(PREFIX).partition("/")[0]
        is_known = environ.get("REQUEST_METHOD") == "POST" and provider in self.readers
        return f"{PREFIX}{provider}" if is_known else NO_ROUTE

    def _answer(self, environ: Mapping[str, Any]) -> Problem | None:
        """Take one report; return what is wrong with it, or none when it is stored."""
        try:
            self._taken(environ)
        # The outermost loop of a request: whatever happens, the provider comes back.
        except Exception as error:  # noqa: BLE001 - as the line above says
            return _problem(error)
        return None

    def _taken(self, environ: Mapping[str, Any]) -> None:
        """Prove the report and store it; who sent a bad one has one less to send."""
        provider, name = _target(environ)
        source = source_of(environ, self.proxies)
        self.budget.check(source)
        try:
            self._take(environ, source, provider, name)
        except (SignatureError, NotFoundError, Refused, SlowDownError):
            self.budget.take(source)
            raise

    def _take(
        self, environ: Mapping[str, Any], source: str, provider: str, name: str
    ) -> None:
        config_id, secrets = self._account(provider, name)
        given = Given(
            raw=self.reading.body(environ, source),
            headers=Headers(environ),
            secrets=secrets,
            now_s=time.time(),
            is_suspect=self.budget.is_suspect(source),
        )
        report = self.readers[provider](given)
        self.budget.trust(source)
        if report is None:
            return
        # The id in the report names it: sent again, it is stored once.
        known_by = hashlib.sha256(f"{name}\0{report.event_id}".encode())
        job = RecordWebhook(
            provider=provider,
            event=report.event,
            body=report.body,
            event_id=report.event_id,
            config_id=config_id,
            received_at=given.now_s,
        )
        self.publish(job, dedup_id=f"{provider}:{known_by.hexdigest()}")

    def _account(self, provider: str, name: str) -> tuple[str | None, str]:
        """Return whose account it is, none for the platform's, and its secrets."""
        if not name:
            return None, self.accounts.of_platform(provider)
        config_id = _uuid(name)
        if provider != "custom":
            if config_id is None:
                raise NotFoundError("There is no such send config.")
            return config_id, self.accounts.of_config(provider, config_id)
        try:
            if config_id is not None:
                return config_id, self.accounts.of_config(provider, config_id)
        except NotFoundError:
            _log.debug("%s is no send config of ours.", config_id)
        # The name of an endpoint that the platform's secret is for.
        return None, self.accounts.of_platform(provider)


def _target(environ: Mapping[str, Any]) -> tuple[str, str]:
    """Return the provider and the name of the account, `""` for the platform's."""
    provider, has_name, name = environ["PATH_INFO"][len(PREFIX) :].partition("/")
    is_known = provider in ("resend", "ses", "telnyx") or (
        provider == "custom" and has_name
    )
    if not is_known or "/" in name or bool(has_name) != bool(name):
        raise Refused(HTTPStatus.NOT_FOUND)
    if environ["REQUEST_METHOD"] != "POST":
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED)
    return provider, name


def _uuid(name: str) -> str | None:
    try:
        return str(UUID(name))
    except ValueError:
        return None


def _problem(error: Exception) -> Problem:
    """Return what is said of an error, without a word about ourselves."""
    if isinstance(error, SignatureError):
        # Which part was wrong helps only who guesses.
        _log.warning("A report was refused: %s", error)
        return Problem(401, "The signature is missing, too old or not ours.")
    if isinstance(error, InvalidInputError):
        return Problem(400, str(error))
    if isinstance(error, SlowDownError):
        return Problem(429, str(error), error.wait_s)
    if isinstance(error, NotFoundError):
        return Problem(404, "There is nothing here that takes this request.")
    if isinstance(error, Refused):
        return Problem(error.status, str(error))
    return _not_stored(error)


def _not_stored(error: Exception) -> Problem:
    if isinstance(error, NeighbourUnavailableError):
        _log.warning("A report was not stored: %s", error)
    else:
        # Its text may hold a recipient's address.
        _log.error("Unexpected %s; the report was not stored", type(error).__name__)
    said = "The report could not be stored; send it again."
    return Problem(503, said, RETRY_AFTER_S)


def _told(problem: Problem, start_response: Callable[..., Any]) -> Iterable[bytes]:
    status = HTTPStatus(problem.status)
    body = orjson.dumps(
        {"type": "about:blank", "status": problem.status, "detail": problem.detail}
    )
    headers = [
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
    ]
    if problem.retry_after_s:
        headers.append(("Retry-After", str(problem.retry_after_s)))
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]
