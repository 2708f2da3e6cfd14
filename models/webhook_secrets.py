"""What tenants' own accounts sign their reports with, on its way to the receiver.

The web app seals it by the setting `WEBHOOK_SECRETS_KEY` into Postgres, the scheduler
carries it as it is into a bucket of NATS, the receiver opens it. That key opens nothing
else: who breaks into the receiver, the only process that the world can reach, still
cannot read a provider's API key. See ADR 0041.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models import credentials
from models.errors import InvalidInputError

#: The bucket; a key is a send config's id, a value what `carried` returns.
BUCKET = "webhook-secrets"
#: The setting that holds the keys.
SETTING = "WEBHOOK_SECRETS_KEY"
#: The old and the new one, and a few to spare.
MOST = 5
_LONGEST = 500
_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}")


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """By what reports to one send config are believed.

    Attributes:
        config_id: The config, as text; sealed with it, so that nobody who can write
            to the bucket gives one config's to another.
        provider: Whose reports.
        secrets: Signing secrets, or public keys, or the ARNs of topics; any of them
            may be used. Empty when they were taken back.
    """

    config_id: str
    provider: str
    secrets: tuple[str, ...] = ()

    def seal(self, keys: str) -> bytes:
        """Return it encrypted; `InvalidInputError` when there is no good key."""
        given = {
            "config": self.config_id,
            "provider": self.provider,
            "secrets": self.secrets,
        }
        return credentials.seal(given, keys, setting=SETTING)

    @classmethod
    def unseal(cls, sealed: bytes, keys: str) -> "WebhookSecret":
        """Return what `seal` hid; `InvalidInputError` when no key fits."""
        found = credentials.unseal(sealed, keys, setting=SETTING)
        return cls(found["config"], found["provider"], tuple(found["secrets"]))


def carried(revision: int, sealed: bytes) -> bytes:
    """Return a value of the bucket; a higher revision replaces a lower one."""
    return b"%d %b" % (revision, sealed)


def revision_of(value: bytes) -> int:
    """Return the revision of a value of the bucket."""
    return int(value.partition(b" ")[0])


def sealed_in(value: bytes) -> bytes:
    """Return what is sealed in a value of the bucket."""
    return value.partition(b" ")[2]


def checked_secrets(provider: str, given: Any) -> tuple[str, ...]:
    """Return what a tenant gave: one text, or up to 5 during a rotation.

    Args:
        provider: Decides what they are: `whsec_…` secrets of Resend and custom
            endpoints, public keys of Telnyx, ARNs of the SNS topics of SES.
        given: A text or a list of texts.

    Raises:
        InvalidInputError: They are none; the text never holds them.
    """
    check = _CHECKS.get(provider)
    if check is None:
        raise InvalidInputError(
            f"The provider {provider!r} reports nothing.", field="webhookSecret"
        )
    secrets = [given] if isinstance(given, str) else given
    if not isinstance(secrets, Sequence) or not 1 <= len(secrets) <= MOST:
        raise InvalidInputError(
            f"'webhookSecret' must be a text, or a list of 1 to {MOST}.",
            field="webhookSecret",
        )
    for secret in secrets:
        is_text = isinstance(secret, str) and len(secret) <= _LONGEST
        if not is_text or not check(secret):
            raise InvalidInputError(
                f"'webhookSecret' must be {_WORDS[provider]}.", field="webhookSecret"
            )
    return tuple(secrets)


def _is_signing_secret(text: str) -> bool:
    return len(_decoded(text.removeprefix("whsec_"))) >= 16


def _is_public_key(text: str) -> bool:
    return len(_decoded(text)) == 32


def _is_topic(text: str) -> bool:
    return _TOPIC.fullmatch(text) is not None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "resend": _is_signing_secret,
    "custom": _is_signing_secret,
    "telnyx": _is_public_key,
    "ses": _is_topic,
}
_SECRET = "a signing secret such as whsec_…, of 16 bytes or more in base64"  # noqa: S105 - words for people
_WORDS = {
    "resend": _SECRET,
    "custom": _SECRET,
    "telnyx": "the account's public key, 32 bytes in base64",
    "ses": "the ARN of an SNS topic, arn:aws:sns:region:account:name",
}
