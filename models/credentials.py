"""A config's credentials, encrypted before they reach Postgres.

Keys are the setting `CREDENTIALS_KEY`: 32 bytes each in base64, by commas, the same for
the web app and the workers. The first encrypts, all of them decrypt; so a key is
changed by putting the new one in front, and `batchsender credentials rotate` (ADR
0034). Who has only the database can read nothing.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from models.errors import InvalidInputError


def seal(
    credentials: Mapping[str, Any], keys: str, *, setting: str = "CREDENTIALS_KEY"
) -> bytes:
    """Return the credentials as `send_configs.credentials` keeps them.

    Args:
        credentials: Whatever is secret.
        keys: The value of a setting.
        setting: Its name, for errors.

    Raises `InvalidInputError` when a key is missing or malformed.
    """
    return bytes(_boxes(keys, setting)[0].encrypt(orjson.dumps(credentials)))


def unseal(
    sealed: bytes | None, keys: str, *, setting: str = "CREDENTIALS_KEY"
) -> dict[str, Any]:
    """Return the credentials that `seal` hid; none is the empty mapping.

    Raises `InvalidInputError` when a key is missing or malformed, or none fits.
    """
    if sealed is None:
        return {}
    for box in _boxes(keys, setting):
        try:
            credentials: dict[str, Any] = orjson.loads(box.decrypt(bytes(sealed)))
        except CryptoError:
            continue
        return credentials
    raise InvalidInputError(
        f"The credentials were stored under another {setting}; put that one "
        "behind the present one, or enter the credentials again.",
        field=setting,
    )


def resealed(sealed: bytes, keys: str) -> bytes | None:
    """Return the credentials under the first key; none if they are under it already.

    Raises as `unseal`.
    """
    first, *_ = _boxes(keys)
    try:
        first.decrypt(bytes(sealed))
    except CryptoError:
        return seal(unseal(sealed, keys), keys)
    return None


def check_keys(keys: str) -> None:
    """Raise `InvalidInputError` when a key is missing or malformed."""
    _boxes(keys)


def fingerprint(credentials: Mapping[str, Any]) -> str:
    """Return what tells other credentials apart, and too little to guess them by."""
    plain = orjson.dumps(credentials, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(plain).hexdigest()[:8]


def _boxes(keys: str, setting: str = "CREDENTIALS_KEY") -> list[SecretBox]:
    return [_box(key.strip(), setting) for key in keys.split(",")]


def _box(key: str, setting: str) -> SecretBox:
    try:
        raw = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != SecretBox.KEY_SIZE:
        raise InvalidInputError(
            f"Credentials cannot be stored or read: the server's {setting} must "
            "be set to 32 random bytes in base64, or to several such keys by commas.",
            field=setting,
        )
    return SecretBox(raw)
