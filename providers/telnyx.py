"""Telnyx: text messages, one recipient a call.

Telnyx documents no idempotency key for messages, so a call without an answer is
unknown; our ids travel in the address that it reports to. It queues what exceeds a
number's speed, so that *accepted* is not yet *on its way*.

A message that is longer than the config allows, or does not fit the alphabet that it
asks for, fails before a call is made.

Source: Telnyx' pages on sending messages, error codes and rate limits.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlencode

import orjson

from models.capabilities import capabilities
from models.outcome import Answer
from models.provider_settings import TelnyxSettings, required_credential
from providers.guard import Guard
from providers.http import HttpAnswer, HttpSession, NoAnswer, NotSent, json_object
from providers.provider import Account, Call
from providers.rate_headers import reported_rate
from providers.segments import fits_gsm, parts_of
from providers.verdicts import (
    NOT_READABLE,
    ErrorTable,
    Taken,
    Then,
    Verdict,
    by_member,
    judged,
    verdict_on,
    whole,
)

BASE_URL = "https://api.telnyx.com"

_REFUSED = "Telnyx refused the message."
_NUMBER = "Telnyx cannot send to this number."
_KEY = "Telnyx does not accept the API key: check the send config's credentials."
_SENDER = "This sender may not send any more: choose another, or ask Telnyx."
_SLOWER = "Telnyx asked us to go slower."
_LATER = "Telnyx failed for a moment."

#: Codes of `errors[].code`; they outrank the HTTP status.
ERRORS: ErrorTable = {
    "10002": Verdict(Then.FAIL, "refused", _NUMBER),
    "10007": Verdict(Then.RETRY, "none", _LATER),
    "10008": Verdict(Then.RETRY, "none", _LATER),
    "10009": Verdict(Then.PAUSE, "refused", _KEY),
    "10010": Verdict(Then.PAUSE, "refused", _KEY),
    "10011": Verdict(Then.RETRY, "refused", _SLOWER),
    "10016": Verdict(Then.FAIL, "refused", _NUMBER),
    "20100": Verdict(
        Then.PAUSE, "refused", "The balance at Telnyx is used up: add to it there."
    ),
    "40001": Verdict(
        Then.SUPPRESS, "refused", "The number is a landline: it takes no text messages."
    ),
    "40002": Verdict(
        Then.RETRY_LATER, "refused", "Telnyx took the message for spam, for now."
    ),
    "40003": Verdict(Then.STOP_SENDER, "refused", _SENDER),
    "40004": Verdict(Then.RETRY_LATER, "refused", "The number's network refused it."),
    "40006": Verdict(
        Then.RETRY_LATER, "refused", "The number's network does not answer."
    ),
    "40008": Verdict(Then.FAIL, "refused", "The number's network did not take it."),
    "40009": Verdict(Then.FAIL, "refused", "The network refused the text."),
    "40011": Verdict(Then.RETRY, "refused", _SLOWER),
    "40012": Verdict(Then.FAIL, "refused", _NUMBER),
    "40013": Verdict(Then.STOP_SENDER, "refused", _SENDER),
    "40300": Verdict(
        Then.SUPPRESS, "refused", "Who has this number has sent STOP to the sender."
    ),
    "40318": Verdict(Then.RETRY_LATER, "refused", "The queue at Telnyx is full."),
    "400": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "401": Verdict(Then.PAUSE, "refused", _KEY),
    "402": Verdict(Then.PAUSE, "refused", "Telnyx wants to be paid first."),
    "403": Verdict(Then.PAUSE, "refused", _KEY),
    "408": Verdict(Then.RETRY, "none", _LATER),
    "409": Verdict(Then.UNKNOWN, "none", "Telnyx knows the call's key already."),
    "429": Verdict(Then.RETRY, "refused", _SLOWER),
    "3xx": Verdict(Then.RETRY_LATER, "none", "Something answered in Telnyx' place."),
    "4xx": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "5xx": Verdict(Then.RETRY, "none", _LATER),
}

#: States of a message that was answered for, but is not sent.
_FAILED_STATES = frozenset({"sending_failed", "delivery_failed"})


class Telnyx:
    """An account at Telnyx with one sender."""

    def __init__(
        self,
        settings: TelnyxSettings,
        api_key: str,
        *,
        guard: Guard,
        base_url: str = BASE_URL,
    ) -> None:
        self._settings = settings
        self._api_key = api_key
        self._base_url = base_url
        self._session = HttpSession(guard)
        self.capabilities = capabilities("telnyx", _chosen(settings))

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
        return cls(TelnyxSettings.of(settings), api_key, guard=guard)

    def send(self, call: Call) -> Answer:
        """Send one message once; `ERRORS` tells what an answer means."""
        message = call.messages[0]
        if reason := self._unfit(message.get("text") or ""):
            return Answer(failed={0: reason}, reason=reason)
        found = self._session.post(
            f"{self._base_url}/v2/messages",
            orjson.dumps(self._body(message)),
            self._headers(call),
            deadline_s=call.deadline_s,
        )
        return self._answer(found)

    def account(self) -> Account | None:
        """Return none: Telnyx tells its limits with every answer."""
        return None

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _unfit(self, text: str) -> str:
        encoding = self._settings.encoding
        if not text:
            return "The message has no text."
        if encoding == "gsm7" and not fits_gsm(text):
            return "The text has a character that the GSM alphabet does not have."
        parts = parts_of(text, None if encoding == "auto" else encoding)
        most = self._settings.max_segments
        if parts.segments > most:
            return f"The text takes {parts.segments} parts; the config allows {most}."
        return ""

    def _body(self, message: Mapping[str, Any]) -> dict[str, Any]:
        body = {"to": message["to"], "text": message["text"]}
        sender = message.get("from", self._settings.sender)
        if sender is not None:
            body["from"] = sender
        if self._settings.profile_id is not None:
            body["messaging_profile_id"] = self._settings.profile_id
        body["encoding"] = self._settings.encoding
        if self._settings.webhook_url is not None:
            ids = urlencode({"batch": message["batch"], "seq": message["seq"]})
            body["webhook_url"] = f"{self._settings.webhook_url}?{ids}"
        return body

    def _headers(self, call: Call) -> dict[str, str]:
        headers = {
            "Authorization": f"Bearer {self._api_key}",
            "Content-Type": "application/json",
            "User-Agent": "BatchSender",
        }
        if call.key is not None:
            # It does no harm; nothing relies on it.
            headers["Idempotency-Key"] = call.key
        return headers

    def _answer(self, found: HttpAnswer | NotSent | NoAnswer) -> Answer:
        codes, words = _errors_of(found)
        verdict = judged(found, ERRORS, codes)
        if not isinstance(found, HttpAnswer):
            return whole(verdict or NOT_READABLE, 1)
        rate = reported_rate(found.headers, prefix="x-ratelimit-")
        result = verdict or _result(found)
        if isinstance(result, Taken):
            return by_member([result], rate=rate)
        return whole(
            result.quoting(words, [self._api_key]),
            1,
            rate=rate,
        )


def _chosen(settings: TelnyxSettings) -> dict[str, Any]:
    """Return what of the settings its capabilities depend on."""
    found = {"from": settings.sender, "messagingProfileId": settings.profile_id}
    return {**found, "webhookUrl": settings.webhook_url}


def _errors_of(found: HttpAnswer | NotSent | NoAnswer) -> tuple[Sequence[str], str]:
    """Return the codes of an error, and its first title."""
    errors = _objects(json_object(found).get("errors"))
    titles = [str(error.get("title", "")) for error in errors]
    return _codes(errors), next(iter(titles), "")


def _result(found: HttpAnswer) -> Taken | Verdict:
    """Return how the message fared, by the answer to a call that was taken."""
    data = json_object(found).get("data")
    message_id = data.get("id") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(message_id, str):
        return NOT_READABLE
    states = [receiver.get("status") for receiver in _objects(data.get("to"))]
    if _FAILED_STATES.isdisjoint(states):
        return Taken(message_id)
    return verdict_on(ERRORS, 400, _codes(_objects(data.get("errors"))))


def _codes(errors: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(error.get("code", "")) for error in errors]


def _objects(value: Any) -> list[Mapping[str, Any]]:
    found = value if isinstance(value, list) else []
    return [one for one in found if isinstance(one, Mapping)]
