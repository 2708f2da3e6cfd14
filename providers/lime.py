"""Lime (Lime Cellular): text messages within North America, one recipient a call.

Lime gives no message id, reports nothing and keeps no keys: *sent* is the last that
anybody learns, and a call without an answer stays unknown. The credentials travel in
the body; the address has none of them, so that no log of ours or of a proxy shows
them.

Lime's list of error ids for this interface is not public as a whole, and that of its
SMPP interface is another one. Where the id says nothing, the words decide.

Source: Lime's articles “One-way SMS API for Service Providers” and “SMPP Send a
Message API”.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Self
from xml.sax.saxutils import escape

from models.capabilities import capabilities
from models.outcome import Answer
from models.provider_settings import LimeSettings, required_credential
from providers.guard import Guard
from providers.http import HttpAnswer, HttpSession, NoAnswer, NotSent, json_object
from providers.provider import Account, Call
from providers.segments import parts_of
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

BASE_URL = "https://mcpn.us"

_REFUSED = "Lime refused the message."
_KEY = "Lime does not accept the credentials: check the send config's."

#: Keys are error ids, or what `_WORDS` finds in the message.
ERRORS: ErrorTable = {
    "105": Verdict(Then.FAIL, "refused", "The message is empty."),
    "opted out": Verdict(
        Then.SUPPRESS, "refused", "Who has this number has not opted in, or has left."
    ),
    "no credits": Verdict(
        Then.PAUSE, "refused", "The credits at Lime are used up: add some there."
    ),
    "credentials": Verdict(Then.PAUSE, "refused", _KEY),
    "number": Verdict(Then.FAIL, "refused", "Lime cannot send to this number."),
    "400": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "401": Verdict(Then.PAUSE, "refused", _KEY),
    "402": Verdict(Then.PAUSE, "refused", "Lime wants to be paid first."),
    "403": Verdict(Then.PAUSE, "refused", _KEY),
    "408": Verdict(Then.RETRY, "none", "Lime failed for a moment."),
    "429": Verdict(Then.RETRY, "refused", "Lime asked us to go slower."),
    "3xx": Verdict(Then.RETRY_LATER, "none", "Something answered in Lime's place."),
    "4xx": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "5xx": Verdict(Then.RETRY, "none", "Lime failed for a moment."),
}

#: What an error's words name, in the order in which they are looked for.
_WORDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("opted out", re.compile(r"opt(ed)?[ -]?out|not opted[ -]?in|unsubscribed")),
    ("no credits", re.compile(r"credit|account (is )?disabled")),
    ("credentials", re.compile(r"api.?id|user (not|does|is)|password")),
    ("number", re.compile(r"(mobile|number|destination).*(invalid|wrong)")),
)
_MOBILE = re.compile(r"1[2-9]\d{9}")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Lime:
    """An advertiser's account at Lime."""

    def __init__(
        self,
        settings: LimeSettings,
        user: str,
        api_id: str,
        *,
        guard: Guard,
        base_url: str = BASE_URL,
    ) -> None:
        self._settings = settings
        self._user = user
        self._api_id = api_id
        self._base_url = base_url
        self._session = HttpSession(guard)
        self.capabilities = capabilities("lime", {})

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
            InvalidInputError: A setting, or the credential `user` or `apiId`, is
                wrong.
        """
        user, api_id = (required_credential(credentials, n) for n in ("user", "apiId"))
        return cls(LimeSettings.of(settings), user, api_id, guard=guard)

    def send(self, call: Call) -> Answer:
        """Send one message once; `ERRORS` tells what an answer means."""
        message = call.messages[0]
        mobile, text = message["to"].removeprefix("+"), message.get("text") or ""
        if reason := self._unfit(mobile, text):
            return Answer(failed={0: reason}, reason=reason)
        found = self._session.post(
            f"{self._base_url}/sendsmsapi?format=xml&json=true",
            self._body(mobile, text),
            {"Content-Type": "text/xml; charset=utf-8", "User-Agent": "BatchSender"},
            deadline_s=call.deadline_s,
        )
        return self._answer(found)

    def account(self) -> Account | None:
        """Return none: Lime tells no limits."""
        return None

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _unfit(self, mobile: str, text: str) -> str:
        if not _MOBILE.fullmatch(mobile):
            return "Lime sends to numbers like +12125550100 only."
        if not text:
            return "The message has no text."
        if _NOT_XML.search(text):
            return "The text has a control character that Lime cannot take."
        segments, most = parts_of(text).segments, self._settings.max_segments
        if segments > most:
            return f"The text takes {segments} parts; the config allows {most}."
        return ""

    def _body(self, mobile: str, text: str) -> bytes:
        fields = {
            "User": self._user,
            "ApiId": self._api_id,
            "Message": text,
            "Mobile": mobile,
        }
        inside = "".join(f"<{n}>{escape(text)}</{n}>" for n, text in fields.items())
        return f'<?xml version="1.0" encoding="UTF-8"?><Data>{inside}</Data>'.encode()

    def _answer(self, found: HttpAnswer | NotSent | NoAnswer) -> Answer:
        body = json_object(found)
        words = str(body.get("ErrorMessgae") or body.get("ErrorMessage") or "")
        names = _names(str(body.get("ErrorId") or ""), words)
        verdict = judged(found, ERRORS, names)
        if not isinstance(found, HttpAnswer):
            return whole(verdict or NOT_READABLE, 1)
        if verdict is None and body.get("Status") == "OK":
            return by_member([Taken()])
        if verdict is None and body.get("Status") == "Error":
            verdict = verdict_on(ERRORS, 400, names)
        verdict = verdict or NOT_READABLE
        return whole(
            verdict.quoting(words, [self._api_id, self._user]),
            1,
        )


def _names(error_id: str, words: str) -> Sequence[str]:
    found = [name for name, shape in _WORDS if shape.search(words.lower())]
    return [*([error_id] if error_id else []), *found]
