"""Links by which a recipient unsubscribes with one click (RFC 8058).

A link ends in a token: the batch, the recipient's seq and a keyed hash of both. It
names no address, needs no table, and nobody can make one for somebody else. A token of
39 bytes is 52 letters, so that the header fits into what SES takes.

Keys are the setting `UNSUBSCRIBE_KEYS`: texts of at least 32 characters, by commas.
The first signs batches that are sent from now on, all of them verify. The key's id is
sealed with the batch, so that a call that is repeated after a rotation has the same
body.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

from models.errors import InvalidInputError

#: Characters of a key, at least.
LEAST_KEY_LENGTH = 32

_ID_BYTES = 3
_SEQ_BYTES = 4
_MAC_BYTES = 16
#: A whole number of base64's groups, so that many tokens are encoded as one text.
_TOKEN_BYTES = _ID_BYTES + 16 + _SEQ_BYTES + _MAC_BYTES
_TOKEN_LENGTH = _TOKEN_BYTES // 3 * 4
#: Makes a hash useless for anything else that the same key may sign one day.
_PURPOSE = b"unsubscribe:1\0"


@dataclass(frozen=True, slots=True)
class Subscription:
    """Whom a token stands for.

    Attributes:
        batch_id: The batch; it tells tenant and channel.
        seq: The recipient in it; it tells the address.
    """

    batch_id: UUID
    seq: int


@dataclass(frozen=True, slots=True)
class Unsubscribing:
    """How a batch's links are made, fixed when it was sent.

    Attributes:
        url: What stands before the token, such as `https://example.com/u/`.
        key_id: The key that signs, by the id that its tokens begin with.
    """

    url: str
    key_id: str

    @classmethod
    def now(cls, public_url: str, keys: str) -> Self:
        """Return how links are made from now on; `InvalidInputError` without a key."""
        return cls(f"{public_url.rstrip('/')}/u/", next(iter(_by_id(keys))).hex())

    @classmethod
    def of(cls, sealed: Mapping[str, Any]) -> Self:
        """Return what `as_json` wrote."""
        return cls(sealed["url"], sealed["key"])

    def as_json(self) -> dict[str, str]:
        """Return what a sealed plan keeps."""
        return {"url": self.url, "key": self.key_id}


@dataclass(frozen=True, slots=True)
class Links:
    """The links of one batch.

    Attributes:
        url: What stands before the token.
    """

    url: str
    _head: bytes
    _begun: hmac.HMAC = field(repr=False)

    @classmethod
    def of(cls, made: Unsubscribing, batch_id: str, keys: str) -> Self:
        """Return a batch's links; `InvalidInputError` when its key is gone."""
        key_id = bytes.fromhex(made.key_id)
        key = _by_id(keys).get(key_id)
        if key is None:
            raise InvalidInputError(
                "The key that signs this batch's links is not in UNSUBSCRIBE_KEYS any "
                "more: put it back, behind the new one.",
                field="UNSUBSCRIBE_KEYS",
            )
        head = key_id + UUID(batch_id).bytes
        return cls(made.url, head, hmac.new(key, _PURPOSE + head, "sha256"))

    def __call__(self, first_seq: int, size: int) -> Sequence[str]:
        """Return the links of consecutive recipients."""
        url, width = self.url, _TOKEN_LENGTH
        raw = b"".join(map(self._token, range(first_seq, first_seq + size)))
        tokens = base64.urlsafe_b64encode(raw).decode()
        starts = range(0, size * width, width)
        return [url + tokens[start : start + width] for start in starts]

    def _token(self, seq: int) -> bytes:
        # What all of a batch have alike was hashed once.
        number, mac = seq.to_bytes(_SEQ_BYTES), self._begun.copy()
        mac.update(number)
        return self._head + number + mac.digest()[:_MAC_BYTES]


def subscription_of(token: str, keys: str) -> Subscription | None:
    """Return whom a token stands for; none if it is not one of ours.

    A token never ends: mailboxes keep mails for years. Without keys none is ours.
    """
    if len(token) != _TOKEN_LENGTH:
        return None
    try:
        raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    said, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    key = _by_id(keys).get(raw[:_ID_BYTES]) if keys else None
    if key is None or not hmac.compare_digest(mac, _mac(key, said)):
        return None
    ids = said[_ID_BYTES:]
    return Subscription(UUID(bytes=ids[:16]), int.from_bytes(ids[16:]))


def _mac(key: bytes, said: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + said, "sha256")[:_MAC_BYTES]


def _by_id(keys: str) -> dict[bytes, bytes]:
    """Return the keys by their ids, the one that signs first."""
    found = [key.strip().encode() for key in keys.split(",") if key.strip()]
    if not found or min(map(len, found)) < LEAST_KEY_LENGTH:
        raise InvalidInputError(
            "Links to unsubscribe by need the server's UNSUBSCRIBE_KEYS: texts of at "
            f"least {LEAST_KEY_LENGTH} random characters, by commas.",
            field="UNSUBSCRIBE_KEYS",
        )
    return {hashlib.sha256(_PURPOSE + key).digest()[:_ID_BYTES]: key for key in found}
