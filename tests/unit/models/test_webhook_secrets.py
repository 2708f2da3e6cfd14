"""Webhook secrets are checked when given, and sealed by a key that opens only them."""

import base64

import pytest

from models.credentials import seal
from models.errors import InvalidInputError
from models.webhook_secrets import (
    WebhookSecret,
    carried,
    checked_secrets,
    revision_of,
    sealed_in,
)

KEY = base64.b64encode(b"k" * 32).decode()
OTHER = base64.b64encode(b"o" * 32).decode()
GOOD = "whsec_" + base64.b64encode(b"s" * 24).decode()
TOPIC = "arn:aws:sns:eu-central-1:123456789012:ses-events"


@pytest.mark.parametrize(
    ("provider", "given", "found"),
    [
        ("resend", GOOD, (GOOD,)),
        ("custom", [GOOD, GOOD.removeprefix("whsec_")], None),
        ("telnyx", KEY, (KEY,)),
        ("ses", [TOPIC], (TOPIC,)),
        ("ses", "arn:aws-cn:sns:cn-north-1:123456789012:x", None),
    ],
)
def test_what_a_provider_signs_by_is_taken(provider, given, found):
    expected = found or ((given,) if isinstance(given, str) else tuple(given))

    assert checked_secrets(provider, given) == expected


@pytest.mark.parametrize(
    ("provider", "given"),
    [
        ("resend", ""),
        ("resend", "whsec_"),
        ("resend", "hush%"),
        ("resend", "whsec_" + "A" * 600),
        ("resend", []),
        ("resend", [GOOD] * 6),
        ("resend", [GOOD, None]),
        ("resend", 7),
        ("resend", {"hush": 1}),
        ("custom", f"{GOOD},{GOOD}"),
        ("telnyx", GOOD),
        ("ses", "arn:aws:sqs:eu-central-1:123456789012:x"),
        ("ses", TOPIC + "\n"),
        ("lime", GOOD),
    ],
)
def test_what_is_none_is_refused_and_not_repeated(provider, given):
    with pytest.raises(InvalidInputError) as refused:
        checked_secrets(provider, given)

    assert refused.value.field == "webhookSecret"
    assert "hush" not in str(refused.value)


def test_it_comes_out_as_it_was_sealed():
    secret = WebhookSecret("c1", "resend", (GOOD,))

    value = carried(1_700_000_000_000, secret.seal(KEY))

    assert revision_of(value) == 1_700_000_000_000
    assert WebhookSecret.unseal(sealed_in(value), f"{OTHER},{KEY}") == secret
    assert GOOD.encode() not in value


def test_its_key_opens_no_credentials():
    """Which are sealed by another one."""
    credentials = seal({"apiKey": "re_1"}, OTHER)

    with pytest.raises(InvalidInputError, match="WEBHOOK_SECRETS_KEY"):
        WebhookSecret.unseal(credentials, KEY)


@pytest.mark.parametrize("keys", ["", "short", OTHER])
def test_without_the_key_nothing_is_opened(keys):
    sealed = WebhookSecret("c1", "resend", (GOOD,)).seal(KEY)

    with pytest.raises(InvalidInputError, match="WEBHOOK_SECRETS_KEY"):
        WebhookSecret.unseal(sealed, keys)
