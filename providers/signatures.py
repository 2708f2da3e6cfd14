"""Signatures that prove who sent a webhook.

Source: standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`.
"""

import base64
import binascii
import hashlib
import hmac

from models.errors import InvalidInputError

_PREFIX = "whsec_"


def standard_webhooks_key(secret: str) -> bytes:
    """Return the key in a secret such as `whsec_…`; prefix and padding may be absent.

    Raises:
        InvalidInputError: It is not base64, or not of 24 to 64 bytes.
    """
    text = secret.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(
            "The secret must be base64, such as whsec_…", field="secret"
        ) from error
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
