"""What providers' reports look like: how each is proven, and what is read from it.

A reader gets the bytes as they came and the secrets of the account they came for. It
returns the report once it is proven genuine, or nothing where nothing is to be stored.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from models.errors import InvalidInputError
from providers.signatures import (
    Headers,
    several,
    verify_standard_webhook,
    verify_telnyx,
)
from providers.sns import CONFIRMATION, NOTIFICATION, Envelope, Sns

#: What SES publishes once to a topic that it was given.
_FIRST_WORDS = "Successfully validated SNS topic"
_LONGEST_EVENT = 100

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Given:
    """A request that claims to be a report.

    Attributes:
        raw: The body's bytes, as they came.
        headers: The request's.
        secrets: What proves it, several by commas; `""` proves nothing.
        now_s: Our clock, in seconds since 1970.
        is_suspect: Its sender sent many bad ones: nothing is fetched for it.
    """

    raw: bytes
    headers: Headers
    secrets: str
    now_s: float
    is_suspect: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """A genuine report.

    Attributes:
        event: The event's type, in the provider's own words.
        event_id: The same when it is sent again.
        body: The event, decoded from JSON.
    """

    event: str
    event_id: str
    body: Mapping[str, Any]


#: Raises `SignatureError`, `InvalidInputError` and `NeighbourUnavailableError`.
Reader = Callable[[Given], Report | None]


def readers(sns: Sns) -> Mapping[str, Reader]:
    """Return the readers of all providers that report, by their names."""
    return {
        "resend": _standard,
        "custom": _standard,
        "telnyx": _telnyx,
        "ses": lambda given: _ses(given, sns),
    }


def _standard(given: Given) -> Report:
    """Resend and custom endpoints: Standard Webhooks, whose header has the id."""
    report_id = verify_standard_webhook(
        given.raw, given.headers, secret=given.secrets, now_s=given.now_s
    )
    body = _object(given.raw)
    return Report(_text(body, "type"), report_id, body)


def _telnyx(given: Given) -> Report:
    verify_telnyx(given.raw, given.headers, public_key=given.secrets, now_s=given.now_s)
    body = _object(given.raw)
    data = body.get("data")
    if not isinstance(data, dict):
        raise InvalidInputError("The report must have an object 'data'.", field="data")
    event, event_id = _text(data, "event_type"), _text(data, "id")
    return Report(event, event_id, body)


def _ses(given: Given, sns: Sns) -> Report | None:
    envelope = sns.verify(
        given.raw,
        topics=several(given.secrets),
        now_s=given.now_s,
        may_fetch=not given.is_suspect,
    )
    if envelope.kind == NOTIFICATION:
        return _ses_event(envelope)
    if envelope.kind == CONFIRMATION:
        sns.confirm(envelope)
        _log.info("The subscription to %s is confirmed.", envelope.topic)
    else:
        _log.warning("We are no longer subscribed to %s.", envelope.topic)
    return None


def _ses_event(envelope: Envelope) -> Report | None:
    if envelope.message.startswith(_FIRST_WORDS):
        return None
    body = _object(envelope.message.encode())
    # Without event publishing SES calls it otherwise.
    name = "eventType" if "eventType" in body else "notificationType"
    return Report(_text(body, name), envelope.message_id, body)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError("The report is not JSON.") from error
    if not isinstance(body, dict):
        raise InvalidInputError("The report must be a JSON object.")
    return body


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_EVENT:
        raise InvalidInputError(
            f"The report must name its {name!r} in 1 to {_LONGEST_EVENT} characters.",
            field=name,
        )
    return value
