"""Signatures that prove who sent a webhook: ours to make, providers' to verify.

Wherever a secret or a key is taken, several may be given, by commas or spaces: while
one is being replaced, reports signed by the old and by the new one are genuine.

Sources: Standard Webhooks, `spec/standard-webhooks.md`; Telnyx, *Receiving webhooks*.
"""

import base64
import binascii
import functools
import hashlib
import hmac
from typing import Protocol

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

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
        secret: Base64 after an optional `whsec_`; padding may be missing. One or
            several.
        now_s: Our clock, in seconds since 1970.

    Raises:
        SignatureError: A header is missing or malformed, the time is off by more than
            `TOLERANCE_S`, there is no secret, or no signature is right.
    """
    keys = _keys(secret)
    report_id = _header(headers, "id")
    sent_at = _header(headers, "timestamp")
    _check_time(sent_at, now_s)
    signed = f"{report_id}.{sent_at}.".encode() + body
    expected = [hmac.digest(key, signed, "sha256") for key in keys]
    # Every pair is compared, so that the time taken tells nothing.
    matches = [
        hmac.compare_digest(one, given)
        for given in _given(_header(headers, "signature"))
        for one in expected
    ]
    if not any(matches):
        raise SignatureError("No signature is right.")
    return report_id


def verify_telnyx(
    body: bytes, headers: Headers, *, public_key: str, now_s: float
) -> None:
    """Return if Telnyx signed the report.

    Args:
        body: The bytes as they came.
        headers: The request's; `telnyx-timestamp` and `telnyx-signature-ed25519`.
        public_key: Ed25519, 32 bytes in base64. One or several.
        now_s: Our clock, in seconds since 1970.

    Raises:
        SignatureError: As for `verify_standard_webhook`.
    """
    keys = _telnyx_keys(public_key)
    sent_at = headers.get("telnyx-timestamp") or ""
    _check_time(sent_at, now_s)
    signature = _decoded(headers.get("telnyx-signature-ed25519") or "")
    signed = f"{sent_at}|".encode() + body
    if not any(_is_signed(key, signed, signature or b"") for key in keys):
        raise SignatureError("No signature is right.")


def telnyx_key(text: str) -> VerifyKey:
    """Return the public key in 32 bytes of base64.

    Raises:
        InvalidInputError: It is none.
    """
    raw = _decoded(text) or b""
    if len(raw) != 32:
        raise InvalidInputError(
            "The public key must be 32 bytes in base64, as Telnyx shows it."
        )
    return VerifyKey(raw)


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


@functools.lru_cache(maxsize=1024)
def _keys(secrets: str) -> tuple[bytes, ...]:
    # A provider's secret is as long as the provider likes.
    keys = [_decoded(secret) for secret in several(secrets)]
    if None in keys:
        raise SignatureError("The secret is not base64.")
    if not keys or not all(keys):
        raise SignatureError("There is no secret, so no report is believed.")
    return tuple(key for key in keys if key)


@functools.lru_cache(maxsize=1024)
def _telnyx_keys(public_keys: str) -> tuple[VerifyKey, ...]:
    try:
        keys = tuple(telnyx_key(text) for text in several(public_keys))
    except InvalidInputError as error:
        raise SignatureError(str(error)) from error
    if not keys:
        raise SignatureError("There is no public key, so no report is believed.")
    return keys


def _is_signed(key: VerifyKey, signed: bytes, signature: bytes) -> bool:
    try:
        key.verify(signed, signature)
    except (BadSignatureError, ValueError):
        # Of another length it is a ValueError.
        return False
    return True


def several(text: str) -> list[str]:
    """Return the values in a text, separated by commas or spaces."""
    return text.replace(",", " ").split()


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
        raise SignatureError("The report's timestamp is missing or not a time.")
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
