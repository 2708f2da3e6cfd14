"""Signatures that prove who sent a webhook: ours to make, providers' to verify.

Source: Standard Webhooks, `spec/standard-webhooks.md`.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Protocol

from models.errors import BatchSenderError, InvalidInputError

#: How far a report's time may be from ours, either way, in seconds.
TOLERANCE_S = 300

_PREFIX = "whsec_"


class SignatureError(BatchSenderError):
    """The report is not proven genuine; it must not be believed."""


class Headers(Protocol):
    """A request's headers: a mapping that knows a name in any case."""

    def get(self, name: str, /) -> str | None:
        """Return a header's value, or none."""


def verify_standard_webhook(
    body: bytes, headers: Headers, *, secret: str, now_s: float
) -> str:
    """Return the id of a genuine report.

    Args:
        body: The bytes as they came; decoding them first would change them.
        headers: The request's; `webhook-id`,
            `webhook-timestamp` and `webhook-signature`, or the same with `svix-`.
        secret: Base64 after an optional `whsec_`; padding may be missing.
        now_s: Our clock, in seconds since 1970.

    Raises:
        SignatureError: A header is missing or malformed, the time is off by more than
            `TOLERANCE_S`, there is no secret, or no signature is right.
    """
    key = _key(secret)
    report_id = _header(headers, "id")
    sent_at = _header(headers, "timestamp")
    _check_time(sent_at, now_s)
    signed = f"{report_id}.{sent_at}.".encode() + body
    expected = hmac.digest(key, signed, hashlib.sha256)
    # Every entry is compared, so that the time taken tells nothing.
    matches = [
        hmac.compare_digest(expected, given)
        for given in _given(_header(headers, "signature"))
    ]
    if not any(matches):
        raise SignatureError("No signature is right.")
    return report_id


def standard_webhooks_key(secret: str) -> bytes:
    """Return the key in a secret such as `whsec_…`; prefix and padding may be absent.

    Raises:
        InvalidInputError: It is not base64, or not of 24 to 64 bytes.
    """
    key = _decoded(secret)
    if key is None:
        raise InvalidInputError(
            "The secret must be base64, such as whsec_…", field="secret"
        )
    if not 24 <= len(key) <= 64:
        raise InvalidInputError("The secret must be of 24 to 64 bytes.", field="secret")
    return key


def standard_webhooks_signature(
    key: bytes, *, message_id: str, timestamp_s: int, body: bytes
) -> str:
    """Return the value of `webhook-signature`: `v1,` and a base64 HMAC-SHA256."""
    signed = hmac.new(key, f"{message_id}.{timestamp_s}.".encode(), hashlib.sha256)
    signed.update(body)
    return f"v1,{base64.b64encode(signed.digest()).decode()}"


def _key(secret: str) -> bytes:
    # A provider's secret is as long as the provider likes.
    key = _decoded(secret)
    if key is None:
        raise SignatureError("The secret is not base64.")
    if not key:
        raise SignatureError("There is no secret, so no report is believed.")
    return key


def _decoded(secret: str) -> bytes | None:
    text = secret.removeprefix(_PREFIX)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _header(headers: Headers, name: str) -> str:
    value = headers.get(f"webhook-{name}") or headers.get(f"svix-{name}")
    if not value:
        raise SignatureError(f"The header webhook-{name} is missing.")
    return value


def _check_time(sent_at: str, now_s: float) -> None:
    if not (sent_at.isascii() and sent_at.isdecimal() and len(sent_at) <= 12):
        raise SignatureError("The header webhook-timestamp is not a time.")
    if abs(now_s - int(sent_at)) > TOLERANCE_S:
        raise SignatureError("The report's time is too far from ours.")


def _given(header: str) -> list[bytes]:
    """Return the signatures of the one version there is; others are left out."""
    found = []
    for entry in header.split(" "):
        version, _, text = entry.partition(",")
        if version != "v1":
            continue
        try:
            found.append(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            # A malformed entry proves nothing; another may still be right.
            continue
    return found
