"""Resend: mail in arrays of up to a hundred, with idempotency keys.

A call of one message is `POST /emails`, of several `POST /emails/batch`. The key
stands for the call's fixed members, so a repeated call has the same body byte by byte
and gets the first one's answer for 24 hours. Arrays are sent *permissive*: a message
that Resend refuses fails alone, where by default it would fail all with it. Our ids
travel as tags and come back with every event.

Source: Resend's OpenAPI description and its pages on errors, rate limits and
idempotency keys.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import orjson

from models.capabilities import capabilities
from models.outcome import Answer, ReportedRate
from models.provider_settings import ResendSettings, required_credential
from providers.guard import Guard
from providers.http import HttpAnswer, HttpSession, NoAnswer, NotSent, json_object
from providers.provider import Account, Call, File
from providers.rate_headers import reported_rate
from providers.verdicts import (
    NOT_READABLE,
    ErrorTable,
    Taken,
    Then,
    Verdict,
    by_member,
    judged,
    whole,
)

BASE_URL = "https://api.resend.com"

_REFUSED = "Resend refused the message."
_KEY = "Resend does not accept the API key: check the send config's credentials."
_LATER = "Resend failed for a moment."

ERRORS: ErrorTable = {
    "400": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "401": Verdict(Then.PAUSE, "refused", _KEY),
    "402": Verdict(Then.PAUSE, "refused", "Resend wants to be paid first."),
    "403": Verdict(Then.PAUSE, "refused", _KEY),
    "403 validation_error": Verdict(
        Then.STOP_SENDER,
        "refused",
        "Resend does not let this sender send: verify its domain there.",
    ),
    "404": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "405": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    # Resend may have dropped a request that came too slowly, or not.
    "408": Verdict(Then.RETRY, "none", _LATER),
    # The key's first call may have been taken; its answer cannot be had any more.
    "409 invalid_idempotent_request": Verdict(
        Then.UNKNOWN, "none", "Resend knows the call's key with another content."
    ),
    "409": Verdict(Then.RETRY, "none", "Resend is still busy with the same call."),
    "413": Verdict(Then.FAIL, "refused", "The message is too large for Resend."),
    "422": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "429 daily_quota_exceeded": Verdict(
        Then.PAUSE,
        "refused",
        "Resend's daily quota is used up: raise it there, or go on tomorrow.",
    ),
    "429 monthly_quota_exceeded": Verdict(
        Then.PAUSE,
        "refused",
        "Resend's monthly quota is used up: raise it there, or go on next month.",
    ),
    "429": Verdict(Then.RETRY, "refused", "Resend asked us to go slower."),
    "451": Verdict(
        Then.STOP_SENDER, "refused", "Resend blocks this sender for its safety."
    ),
    "3xx": Verdict(Then.RETRY_LATER, "none", "Something answered in Resend's place."),
    "4xx": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "5xx": Verdict(Then.RETRY, "none", _LATER),
}


class Resend:
    """A team's account at Resend."""

    def __init__(
        self,
        settings: ResendSettings,
        api_key: str,
        *,
        guard: Guard,
        base_url: str = BASE_URL,
    ) -> None:
        self._settings = settings
        self._api_key = api_key
        self._base_url = base_url
        self._session = HttpSession(guard)
        self.capabilities = capabilities("resend", {"maxBatch": settings.max_batch})

    @classmethod
    def of(
        cls,
        settings: Mapping[str, Any],
        credentials: Mapping[str, str],
        *,
        guard: Guard,
    ) -> Self:
        """Return the provider of a send config.

        Raises:
            InvalidInputError: A setting or the credential `apiKey` is wrong.
        """
        api_key = required_credential(credentials, "apiKey")
        return cls(ResendSettings.of(settings), api_key, guard=guard)

    def send(self, call: Call) -> Answer:
        """Post the messages once; `ERRORS` tells what an answer means."""
        emails = [_email(message, self._settings.sender) for message in call.messages]
        if call.files:
            # Only `POST /emails` takes them, so such a call has one message.
            emails[0]["attachments"] = [_file(one) for one in call.files]
        is_single = len(emails) == 1
        path = "/emails" if is_single else "/emails/batch"
        found = self._session.post(
            self._base_url + path,
            orjson.dumps(emails[0] if is_single else emails),
            self._headers(call),
            deadline_s=call.deadline_s,
        )
        return self._answer(found, len(emails))

    def account(self) -> Account | None:
        """Return none: Resend tells its limits with every answer."""
        return None

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _headers(self, call: Call) -> dict[str, str]:
        headers = {
            "Authorization": f"Bearer {self._api_key}",
            "Content-Type": "application/json",
            "User-Agent": "BatchSender",
            "x-batch-validation": "permissive",
        }
        if call.key is not None:
            headers["Idempotency-Key"] = call.key
        return headers

    def _answer(self, found: HttpAnswer | NotSent | NoAnswer, size: int) -> Answer:
        name, words = _error_of(found)
        verdict = judged(found, ERRORS, [name] if name else [])
        if not isinstance(found, HttpAnswer):
            return whole(verdict or NOT_READABLE, size)
        rate = reported_rate(found.headers, prefix="ratelimit-")
        if verdict is None:
            return _accepted(found, size, rate, [self._api_key])
        return whole(
            verdict.quoting(words, [self._api_key]),
            size,
            rate=rate,
        )


def _email(message: Mapping[str, Any], sender: str | None) -> dict[str, Any]:
    email: dict[str, Any] = {"from": message.get("from", sender), "to": [message["to"]]}
    for ours, theirs in (
        ("replyTo", "reply_to"),
        ("subject", "subject"),
        ("text", "text"),
        ("html", "html"),
        ("cc", "cc"),
        ("bcc", "bcc"),
        ("headers", "headers"),
    ):
        if ours in message:
            email[theirs] = message[ours]
    email["tags"] = [
        {"name": "batch", "value": str(message["batch"])},
        {"name": "seq", "value": str(message["seq"])},
    ]
    if "tags" in message:
        own = message["tags"].items()
        email["tags"] += [{"name": name, "value": value} for name, value in own]
    return email


def _file(one: File) -> dict[str, str]:
    about = one.about
    found = {"filename": about.filename, "content_type": about.content_type}
    if about.content_id is not None:
        found["content_id"] = about.content_id
    return {**found, "content": one.base64}


def _error_of(found: HttpAnswer | NotSent | NoAnswer) -> tuple[str, str]:
    """Return an error's name and words; both empty where it has none."""
    body = json_object(found)
    return str(body.get("name", "")), str(body.get("message", ""))


def _accepted(
    found: HttpAnswer, size: int, rate: ReportedRate | None, secrets: Sequence[str]
) -> Answer:
    results = _results(json_object(found), size, secrets)
    if results is None:
        return whole(NOT_READABLE, size, rate=rate)
    return by_member(results, rate=rate)


def _results(
    body: Mapping[str, Any], size: int, secrets: Sequence[str]
) -> Sequence[Taken | Verdict] | None:
    """Return how each member fared; none if the answer does not tell that.

    Who was refused is named by index; the ids are those of the others, in order.
    """
    if size == 1:
        return [Taken(str(body["id"]))] if body.get("id") else None
    taken = body.get("data")
    if not isinstance(taken, list):
        return None
    refused = _refused(body.get("errors") or [], size, secrets)
    ids = [one.get("id") if isinstance(one, Mapping) else None for one in taken]
    if refused is None or not all(ids) or len(ids) + len(refused) != size:
        return None
    rest = iter(ids)
    return [refused[i] if i in refused else Taken(str(next(rest))) for i in range(size)]


def _refused(
    errors: Any, size: int, secrets: Sequence[str]
) -> dict[int, Verdict] | None:
    found: dict[int, Verdict] = {}
    for error in errors if isinstance(errors, list) else [None]:
        told = error if isinstance(error, Mapping) else {}
        index = told.get("index")
        if type(index) is not int or not 0 <= index < size:
            return None
        words = str(told.get("message", ""))
        found[index] = ERRORS["422"].quoting(words, secrets)
    return found
