"""Where what a batch says comes from, and what a tenant may not say."""

import pytest

from models.capabilities import capabilities
from models.content import Content
from models.errors import InvalidInputError
from models.payload import (
    check_carried,
    checked_defaults,
    checked_payload,
    content_of,
)

FILE = {"sha256": "a" * 64, "filename": "a.pdf", "contentType": "application/pdf"}


def test_the_payload_outranks_legacy_columns_and_these_the_defaults():
    """Field by field."""
    batch = {
        "payload": {"subject": "payload", "text": None},
        "subject": "legacy",
        "text_content": "legacy",
        "html_content": "",
        "reply_to": None,
    }
    config = {
        "defaults": dict.fromkeys(("subject", "text", "html", "replyTo"), "default")
    }

    assert content_of(batch, config) == {
        "subject": "payload",
        "text": "legacy",
        "html": "default",
        "replyTo": "default",
    }


@pytest.mark.parametrize(
    ("name", "email", "sender"),
    [
        ("Us", "us@x.io", '"Us" <us@x.io>'),
        ('A "B" \\', "us@x.io", r'"A \"B\" \\" <us@x.io>'),
        ("", "us@x.io", "us@x.io"),
        (None, "us@x.io", "us@x.io"),
        ("Us", "", None),
    ],
)
def test_a_legacy_sender_is_its_name_and_address(name, email, sender):
    """A quote in the name cannot end it."""
    content = content_of({"payload": {}, "from_name": name, "from_email": email})

    assert content.get("from") == sender


def test_rows_of_an_older_release_have_a_payload_only():
    """No column of this release is needed."""
    assert content_of({"payload": {"text": "x"}}, {"id": 1}) == {"text": "x"}


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"headers": {"Bcc": "a@x.io"}}, "headers.Bcc"),
        ({"headers": {"content-type": "x"}}, "headers.content-type"),
        (
            {"listUnsubscribe": True, "headers": {"list-unsubscribe": "<u>"}},
            "headers.list-unsubscribe",
        ),
        ({"text": "{{"}, "text"),
    ],
)
def test_a_payload_is_refused_by_its_field(payload, field):
    """Headers that our own fields write are among them."""
    with pytest.raises(InvalidInputError) as refused:
        checked_payload(payload)

    assert refused.value.field == field


def test_a_tenants_own_unsubscribe_header_is_free_without_ours():
    """Who has a page of their own keeps it."""
    payload = {"text": "x", "headers": {"List-Unsubscribe": "<https://x.io/u>"}}

    assert checked_payload(payload) == payload


@pytest.mark.parametrize("name", ["from", "attachments"])
def test_defaults_hold_no_sender_and_no_files(name):
    """The sender is a setting: what is held for it is the config."""
    with pytest.raises(InvalidInputError) as refused:
        checked_defaults({name: "us@x.io"})

    assert refused.value.field == name


@pytest.mark.parametrize(
    "payload",
    [
        {"cc": ["a@x.io"]},
        {"bcc": ["a@x.io"]},
        {"tags": {"a": "b"}},
        {"attachments": [FILE]},
        {"listUnsubscribe": True},
    ],
)
def test_what_a_provider_cannot_carry_is_refused_before_it_is_sent(payload):
    """A text message has no copies; nothing is left out in silence."""
    content = Content.of({"text": "x", **payload})

    check_carried(content, capabilities("resend", {}))
    with pytest.raises(InvalidInputError) as refused:
        check_carried(content, capabilities("lime", {}))

    assert refused.value.field == f"payload.{next(iter(payload))}"
