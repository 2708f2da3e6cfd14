"""Standard Webhooks: the official vectors, and everything that is no proof."""

import pytest

from providers.signatures import SignatureError, verify_standard_webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SENT_AT = 1614265330
BODY = b'{"test": 2432232314}'
RIGHT = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
WRONG = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA="


def headers(signature: str = RIGHT, prefix: str = "webhook", **other: str):
    return {
        f"{prefix}-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        f"{prefix}-timestamp": str(SENT_AT),
        f"{prefix}-signature": signature,
    } | {f"{prefix}-{name}": value for name, value in other.items()}


def verify(given, *, secret: str = SECRET, now_s: float = SENT_AT, body: bytes = BODY):
    return verify_standard_webhook(body, given, secret=secret, now_s=now_s)


@pytest.mark.parametrize("prefix", ["webhook", "svix"])
@pytest.mark.parametrize(
    "signature",
    [
        RIGHT,
        f"{WRONG} {RIGHT.replace('v1', 'v2')} {RIGHT} {WRONG}",
        f"nonsense v1 v1, v1,%% {RIGHT}",
    ],
)
def test_the_official_vector_is_genuine(prefix, signature):
    assert verify(headers(signature, prefix)) == "msg_p5jXN8AQM9LWM0D4loKWxJek"


@pytest.mark.parametrize(
    ("secret", "signature"),
    [
        (SECRET.removeprefix("whsec_"), RIGHT),
        (SECRET + "Br", None),
        (SECRET[:-1], None),
    ],
)
def test_a_secret_may_lack_its_prefix_and_its_padding(secret, signature):
    """A secret that can be read refuses only for the signature, not for itself."""
    if signature:
        assert verify(headers(signature), secret=secret)
    else:
        with pytest.raises(SignatureError, match="No signature is right"):
            verify(headers(), secret=secret)


@pytest.mark.parametrize(
    "given",
    [
        headers(WRONG),
        headers(RIGHT.replace("v1", "v2")),
        headers("v1"),
        headers("v1,"),
        headers(","),
        headers("v1,é"),
        headers("v1,g0hM9SsE"),
        headers(timestamp="hello"),
        headers(timestamp="²"),
        headers(timestamp="9" * 5000),
        headers(timestamp=""),
        headers(id=""),
        headers(signature=""),
        {},
    ],
)
def test_what_is_malformed_or_wrong_is_no_proof(given):
    with pytest.raises(SignatureError):
        verify(given)


@pytest.mark.parametrize("now_s", [SENT_AT - 301, SENT_AT + 301])
def test_a_report_from_another_time_is_no_proof(now_s):
    with pytest.raises(SignatureError, match="time"):
        verify(headers(), now_s=now_s)
    assert verify(headers(), now_s=now_s + (300 if now_s < SENT_AT else -300))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_%%%", "whsec_é"])
def test_without_a_readable_secret_nothing_is_believed(secret):
    with pytest.raises(SignatureError):
        verify(headers(), secret=secret)


def test_another_body_is_no_proof():
    with pytest.raises(SignatureError):
        verify(headers(), body=BODY + b" ")
