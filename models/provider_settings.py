"""The settings of send configs whose provider is not the tenant's own endpoint.

As with `models.custom_settings`, they are checked where a config is made and read
where it is used. Each class reads the JSON object of the same names in camel case.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args
from urllib.parse import urlsplit

from models.errors import InvalidInputError

#: The most that the providers take in one call.
RESEND_MAX_BATCH = 100
SES_MAX_BATCH = 50
#: Parts of a text message when a config names no number, and the most it may name.
DEFAULT_MAX_SEGMENTS = 10

Encoding = Literal["auto", "gsm7", "ucs2"]

_REGION = re.compile(r"[a-z]{2}(-[a-z]+){1,2}-\d")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LINE = re.compile(r"[^\r\n]{1,320}")
_SMS_SENDER = re.compile(r"\+?[0-9]{3,15}|[A-Za-z0-9 ]{1,11}")
_URL = re.compile(r"https://[!-~]{1,1500}")
_PROFILE = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class ResendSettings:
    """How Resend is used.

    Attributes:
        sender: The setting `from`, for messages that name no sender.
        max_batch: The most messages in a call, 1 to 100.
    """

    sender: str | None = None
    max_batch: int = RESEND_MAX_BATCH

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the settings; `InvalidInputError` names the one that is wrong."""
        _only(settings, "from", "maxBatch")
        return cls(
            _text(settings, "from", _LINE, "one line"),
            _whole(settings, "maxBatch", RESEND_MAX_BATCH, most=RESEND_MAX_BATCH),
        )


@dataclass(frozen=True, slots=True)
class SesSettings:
    """How SES is used.

    Attributes:
        region: Such as `eu-central-1`.
        sender: The setting `from`, for messages that name no sender.
        configuration_set: Whose event destination tells us what became of messages;
            without one SES reports nothing that bears our ids.
        max_batch: The most messages in a call, 1 to 50.
    """

    region: str
    sender: str | None = None
    configuration_set: str | None = None
    max_batch: int = SES_MAX_BATCH

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the settings; `InvalidInputError` names the one that is wrong."""
        _only(settings, "region", "from", "configurationSet", "maxBatch")
        region = _text(settings, "region", _REGION, "like eu-central-1")
        if region is None:
            raise InvalidInputError("“region” is missing.", field="region")
        return cls(
            region,
            _text(settings, "from", _LINE, "one line"),
            _text(settings, "configurationSet", _NAME, "letters, digits, - and _"),
            _whole(settings, "maxBatch", SES_MAX_BATCH, most=SES_MAX_BATCH),
        )


@dataclass(frozen=True, slots=True)
class TelnyxSettings:
    """How Telnyx is used; a config names its sender, its messaging profile, or both.

    Attributes:
        sender: The setting `from`: a number, a short code or a name.
        profile_id: The messaging profile whose pool of numbers sends.
        encoding: `gsm7` refuses what does not fit it; `auto` takes the shorter one.
        max_segments: The longest message, in the parts that are paid for.
        webhook_url: Where Telnyx reports to; our ids are added to it.
    """

    sender: str | None = None
    profile_id: str | None = None
    encoding: Encoding = "auto"
    max_segments: int = DEFAULT_MAX_SEGMENTS
    webhook_url: str | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the settings; `InvalidInputError` names the one that is wrong."""
        names = ("from", "messagingProfileId", "encoding", "maxSegments", "webhookUrl")
        _only(settings, *names)
        sender = _text(settings, "from", _SMS_SENDER, "a number or up to 11 letters")
        profile = _text(settings, "messagingProfileId", _PROFILE, "an id of Telnyx")
        if sender is None and profile is None:
            raise InvalidInputError(
                "Give “from” or “messagingProfileId”.", field="from"
            )
        encoding = settings.get("encoding", "auto")
        if encoding not in get_args(Encoding):
            raise InvalidInputError(
                "“encoding” must be “auto”, “gsm7” or “ucs2”.", field="encoding"
            )
        return cls(
            sender,
            profile,
            encoding,
            _whole(settings, "maxSegments", DEFAULT_MAX_SEGMENTS),
            _webhook_url(settings),
        )


@dataclass(frozen=True, slots=True)
class LimeSettings:
    """How Lime is used.

    Attributes:
        max_segments: The longest message, in the parts that are paid for.
    """

    max_segments: int = DEFAULT_MAX_SEGMENTS

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the settings; `InvalidInputError` names the one that is wrong."""
        _only(settings, "maxSegments")
        return cls(_whole(settings, "maxSegments", DEFAULT_MAX_SEGMENTS))


def required_credential(credentials: Mapping[str, Any], name: str) -> str:
    """Return a credential of printable ASCII without spaces.

    Raises:
        InvalidInputError: It is missing or holds something else; it is not repeated.
    """
    value = credentials.get(name)
    is_fit = isinstance(value, str) and value.isascii() and value.isprintable()
    if not is_fit or not value or " " in value:
        raise InvalidInputError(
            f"The credential “{name}” is missing or wrong.", field=name
        )
    return str(value)


def _only(settings: Mapping[str, Any], *names: str) -> None:
    for name in settings:
        if name not in names:
            raise InvalidInputError(f"There is no setting “{name}”.", field=name)


def _text(
    settings: Mapping[str, Any], name: str, shape: re.Pattern[str], like: str
) -> str | None:
    value = settings.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not shape.fullmatch(value):
        raise InvalidInputError(f"“{name}” must be {like}.", field=name)
    return value


def _whole(
    settings: Mapping[str, Any], name: str, default: int, *, most: int | None = None
) -> int:
    value = settings.get(name, default)
    most = most or default
    if type(value) is not int or not 1 <= value <= most:
        raise InvalidInputError(
            f"“{name}” must be a whole number from 1 to {most}.", field=name
        )
    return value


def _webhook_url(settings: Mapping[str, Any]) -> str | None:
    like = "like https://example.com/webhooks/telnyx"
    value = _text(settings, "webhookUrl", _URL, like)
    if value is None:
        return None
    message = f"“webhookUrl” must be {like}."
    try:
        parts = urlsplit(value)
    except ValueError as error:
        raise InvalidInputError(message, field="webhookUrl") from error
    if not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidInputError(message, field="webhookUrl")
    return value
