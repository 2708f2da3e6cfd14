"""The settings of a send config that posts to a tenant's own endpoint.

They are checked where a config is made and read where it is used, so they stand below
both the web app and the provider.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from models.errors import InvalidInputError

#: Recipients in one call when a config names no number, and the most it may name.
DEFAULT_MAX_BATCH = 500
MAX_BATCH = 1000
_NAMES = frozenset({"url", "maxBatch", "idempotencyKeys", "headers", "limitUnit"})
#: What we set ourselves, or what would change how a request is framed.
_OWN_HEADERS = re.compile(
    r"host|connection|keep-alive|content-(length|type|encoding)|accept-encoding|"
    r"transfer-encoding|te|trailer|upgrade|expect|idempotency-key|webhook-.*",
    re.IGNORECASE,
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class CustomSettings:
    """A send config's settings, as the JSON object of the same names in camel case.

    Attributes:
        url: Where messages are posted, http or https.
        max_batch: The most messages in a call, 1 to 1000; 1 posts a single object.
        idempotency_keys: The endpoint takes a call with a known key only once.
        headers: Sent along with every call.
        limit_unit: What the config's rate limit counts.
    """

    url: str
    max_batch: int = DEFAULT_MAX_BATCH
    idempotency_keys: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    limit_unit: Literal["requests", "recipients"] = "recipients"

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Return the settings in a JSON object.

        Raises:
            InvalidInputError: A setting is unknown, missing or wrong; it is named.
        """
        for name in settings:
            _require(name in _NAMES, name, f"There is no setting “{name}”.")
        found = cls(
            settings.get("url", ""),
            settings.get("maxBatch", DEFAULT_MAX_BATCH),
            settings.get("idempotencyKeys", False),
            settings.get("headers", {}),
            settings.get("limitUnit", "recipients"),
        )
        check_url(found.url)
        _require(
            type(found.max_batch) is int and 1 <= found.max_batch <= MAX_BATCH,
            "maxBatch",
            f"“maxBatch” must be a whole number from 1 to {MAX_BATCH}.",
        )
        _require(
            isinstance(found.idempotency_keys, bool),
            "idempotencyKeys",
            "“idempotencyKeys” must be true or false.",
        )
        _require(
            found.limit_unit in ("requests", "recipients"),
            "limitUnit",
            "“limitUnit” must be “requests” or “recipients”.",
        )
        _check_headers(found.headers)
        return found


def _require(is_met: bool, name: str, message: str) -> None:  # noqa: FBT001 - it reads
    if not is_met:
        raise InvalidInputError(message, field=name)


def check_url(url: Any) -> None:
    """Raise `InvalidInputError` unless this is an HTTP address that we may call."""
    message = "“url” must be like https://example.com/messages, with no password in it."
    _require(isinstance(url, str), "url", message)
    _require(url.isascii() and url.isprintable() and " " not in url, "url", message)
    try:
        parts = urlsplit(url)
        is_plain = parts.port != 0 and "@" not in parts.netloc and not parts.fragment
    except ValueError as error:
        raise InvalidInputError(message, field="url") from error
    is_http = parts.scheme in ("http", "https") and bool(parts.hostname)
    _require(is_http and is_plain, "url", message)


def _check_headers(headers: Any) -> None:
    message = "“headers” must be an object of names and texts."
    _require(isinstance(headers, Mapping), "headers", message)
    for name, value in headers.items():
        field_name = f"headers.{name}"
        is_own = _OWN_HEADERS.fullmatch(name) is not None
        _require(not is_own, field_name, f"The header “{name}” is set by us.")
        is_name = _HEADER_NAME.fullmatch(name) is not None
        _require(is_name, field_name, "A header's name may hold letters, digits and -.")
        is_value = isinstance(value, str) and _HEADER_VALUE.fullmatch(value) is not None
        _require(
            is_value, field_name, f"The header “{name}” must be one line of ASCII."
        )
