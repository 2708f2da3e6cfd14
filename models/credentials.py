"""A config's credentials, encrypted before they reach Postgres.

The key is the setting `CREDENTIALS_KEY`: 32 bytes in base64, the same for the web app
and the workers. Who has only the database can read nothing.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import orjson
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from models.errors import InvalidInputError


def seal(credentials: Mapping[str, Any], key: str) -> bytes:
    """Return the credentials as `send_configs.credentials` keeps them.

    Raises `InvalidInputError` when the key is missing or malformed.
    """
    return bytes(_box(key).encrypt(orjson.dumps(credentials)))


def unseal(sealed: bytes | None, key: str) -> dict[str, Any]:
    """Return the credentials that `seal` hid; none is the empty mapping.

    Raises `InvalidInputError` when the key is missing, malformed or another one.
    """
    if sealed is None:
        return {}
    try:
        plain = _box(key).decrypt(bytes(sealed))
    except CryptoError as error:
        raise InvalidInputError(
            "The credentials were stored under another CREDENTIALS_KEY; set that one, "
            "or enter the credentials again.",
            field="CREDENTIALS_KEY",
        ) from error
    credentials: dict[str, Any] = orjson.loads(plain)
    return credentials


def _box(key: str) -> SecretBox:
    try:
        raw = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != SecretBox.KEY_SIZE:
        raise InvalidInputError(
            "Credentials cannot be stored or read: the server's CREDENTIALS_KEY must "
            "be set to 32 random bytes in base64.",
            field="CREDENTIALS_KEY",
        )
    return SecretBox(raw)
