"""The custom provider's tables: what each answer of an endpoint means."""

import email.utils
import time

import pytest

from models.capabilities import capabilities
from models.errors import InvalidInputError
from models.outcome import Answer
from providers import registry
from providers.custom import answer_of
from providers.guard import Guard
from providers.http import HttpAnswer
from providers.signatures import standard_webhooks_key, standard_webhooks_signature

JSON = {"content-type": "application/json"}
URL = {"url": "https://example.com/in"}


def fate(answer: Answer, size: int) -> str:
    """Return a letter a member: accepted, failed, unanswered, or later."""
    letters = []
    for i in range(size):
        marks = [
            letter
            for letter, is_so in (
                ("a", answer.accepted >> i & 1),
                ("f", i in answer.failed),
                ("u", answer.unanswered >> i & 1),
            )
            if is_so
        ]
        assert len(marks) <= 1
        letters += marks or ["l"]
    return "".join(letters)


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (200, {}, b"", "aaa"),
        (204, JSON, b"", "aaa"),
        (202, {}, b"thanks", "aaa"),
        (200, JSON, b'{"status":"rejected"}', "aaa"),
        (200, JSON, b"true", "aaa"),
        (200, JSON, b"[{},{},{}]", "aaa"),
        (200, {}, b'[{"status":"accepted"},{"status":"rejected"},{}]', "afa"),
        (200, JSON, b'[{"status":"retry"},{"status":"x"},{"status":[]}]', "luu"),
        (200, JSON, b'[1,null,"a"]', "uuu"),
        (200, JSON, b"[{},{}]", "uuu"),
        (200, JSON, b"[]", "uuu"),
        (200, {"content-type": "text/Json"}, b"[{},{},{}", "uuu"),
        (103, {}, b"", "uuu"),
        (301, {}, b"", "fff"),
        (400, {}, b"", "fff"),
        (401, {}, b"", "lll"),
        (404, {}, b"", "fff"),
        (408, {}, b"", "uuu"),
        (409, {}, b"", "uuu"),
        (425, {}, b"", "uuu"),
        (429, {}, b"", "lll"),
        (499, {}, b"", "fff"),
        (500, {}, b"", "uuu"),
        (503, {}, b"", "uuu"),
        (600, {}, b"", "uuu"),
    ],
)
def test_a_status_means_what_the_table_says(status, headers, body, expected):
    """Refused needs proof; what is not proven is unanswered."""
    assert fate(answer_of(HttpAnswer(status, headers, body), 3), 3) == expected


def test_an_object_speaks_for_a_single_message():
    """With its id, or with its refusal."""
    taken = answer_of(HttpAnswer(200, JSON, b'{"id":17}'), 1)
    refused = answer_of(
        HttpAnswer(200, JSON, b'{"status":"rejected","error":"No such user."}'), 1
    )

    assert (taken.accepted, list(taken.provider_ids)) == (1, ["17"])
    assert refused.failed == {0: "No such user."}


def test_the_ids_of_items_go_with_their_messages():
    """Those who were not taken have none."""
    body = b'[{"id":"x"},{"status":"rejected","id":"y"},{"status":"accepted"}]'

    answer = answer_of(HttpAnswer(200, JSON, body), 3)

    assert list(answer.provider_ids) == ["x", None, None]
    assert answer.failed == {1: "The endpoint rejected the message."}


def test_credentials_and_redirects_are_named_in_the_reason():
    """So that the tenant knows what to change."""
    assert "credentials" in answer_of(HttpAnswer(403, {}, b""), 1).hold.reason
    assert "redirects" in answer_of(HttpAnswer(308, {}, b""), 1).failed[0]


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("7", 7, 7), ("9" * 400, 86_400, 86_400)],
)
def test_retry_after_is_a_number(text, least, most):
    """RFC 9110; at most a day."""
    answer = answer_of(HttpAnswer(429, {"retry-after": text}, b""), 1)

    assert least <= answer.retry_after_s <= most


@pytest.mark.parametrize(
    ("later_s", "least", "most"), [(3600, 3000, 3600), (-60, 0, 0)]
)
def test_retry_after_is_a_date(later_s, least, most):
    """RFC 9110; what is past is now."""
    text = email.utils.formatdate(time.time() + later_s, usegmt=True)

    answer = answer_of(HttpAnswer(429, {"retry-after": text}, b""), 1)

    assert least <= answer.retry_after_s <= most


def test_an_unreadable_retry_after_is_none():
    """The sender then waits as it would without."""
    answer = answer_of(HttpAnswer(429, {"retry-after": "soon"}, b""), 1)

    assert answer.retry_after_s is None


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({}, "url"),
        ({"url": 3}, "url"),
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://user:secret@example.com"}, "url"),
        ({"url": "https://example.com:99999/"}, "url"),
        ({"url": "https://[example.com/"}, "url"),
        ({"url": "https://example.com/a b"}, "url"),
        ({"url": "https://example.com/a\r\nb"}, "url"),
        ({"url": "https://example.com/#a"}, "url"),
        ({**URL, "maxBatch": 0}, "maxBatch"),
        ({**URL, "maxBatch": True}, "maxBatch"),
        ({**URL, "idempotencyKeys": "yes"}, "idempotencyKeys"),
        ({**URL, "limitUnit": "bytes"}, "limitUnit"),
        ({**URL, "headers": []}, "headers"),
        ({**URL, "headers": {"Host": "x"}}, "headers.Host"),
        ({**URL, "headers": {"content-LENGTH": "1"}}, "headers.content-LENGTH"),
        ({**URL, "headers": {"X-A": "a\r\nb"}}, "headers.X-A"),
        ({**URL, "headers": {"X A": "a"}}, "headers.X A"),
        ({**URL, "colour": "red"}, "colour"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(settings, field):
    """Before anything is sent."""
    with pytest.raises(InvalidInputError) as refused:
        capabilities("custom", settings)

    assert refused.value.field == field


def test_settings_become_capabilities():
    """The send path asks these and never the provider's name."""
    plain = registry.build("custom", URL, {}, guard=Guard()).capabilities
    chosen = registry.build(
        "custom",
        {**URL, "maxBatch": 1, "idempotencyKeys": True, "limitUnit": "requests"},
        {},
        guard=Guard(),
    ).capabilities

    assert (plain.max_batch, plain.keeps_idempotency_keys) == (500, False)
    assert (plain.counts, plain.reports_events) == ("recipients", False)
    assert (chosen.max_batch, chosen.keeps_idempotency_keys) == (1, True)
    assert chosen.counts == "requests"


def test_there_is_no_unknown_provider():
    """The sentence lists those there are."""
    with pytest.raises(InvalidInputError, match="custom"):
        registry.build("pigeon", {}, {}, guard=Guard())


def test_signatures_equal_the_specifications_vector():
    """Standard Webhooks' own example; padding and prefix may be absent."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signature = standard_webhooks_signature(
        standard_webhooks_key(secret),
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp_s=1614265330,
        body=b'{"test": 2432232314}',
    )

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert standard_webhooks_key(secret.removeprefix("whsec_")) == (
        standard_webhooks_key(secret)
    )
    assert len(standard_webhooks_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwBr")) == 25


@pytest.mark.parametrize("secret", ["whsec_AAAA", "no base64!", "é"])
def test_a_weak_or_broken_secret_is_refused(secret):
    """24 to 64 bytes, and the error does not repeat it."""
    with pytest.raises(InvalidInputError) as refused:
        registry.build("custom", URL, {"secret": secret}, guard=Guard())

    assert refused.value.field == "secret"
    assert secret not in str(refused.value)
