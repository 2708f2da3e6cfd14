"""Standard Webhooks and Telnyx: the vectors, and everything that is no proof."""

import pytest

from providers.signatures import (
    SignatureError,
    verify_standard_webhook,
    verify_telnyx,
)

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


OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@pytest.mark.parametrize("secrets", [f"{OTHER},{SECRET}", f"{SECRET} {OTHER}"])
def test_any_of_several_secrets_proves_a_report(secrets):
    """While one is being replaced."""
    assert verify(headers(), secret=secrets)


@pytest.mark.parametrize("secrets", [OTHER, f"{OTHER},", f"{SECRET},whsec_%%%"])
def test_a_secret_that_is_none_spoils_all(secrets):
    """Rather than have half of a list work by accident."""
    with pytest.raises(SignatureError):
        verify(headers(), secret=secrets)


# The key of RFC 8032's first test; Telnyx publishes no vector.
TELNYX_KEY = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
TELNYX_BODY = b'{"data":{"event_type":"message.finalized"}}'
TELNYX_AT = 1700000000
TELNYX_SIGNATURE = (
    "VFr1pO1YQ5P0k82Wbl4SWQeVjt3+V8cOCQQ1X4y17jOI6eBQrDu+ZCnxBh0zmzKL"
    "/rLfYsLcpbbHqELD7fFsBQ=="
)


def telnyx(body=TELNYX_BODY, *, key=TELNYX_KEY, now_s=TELNYX_AT, **changed):
    given = {
        "telnyx-timestamp": str(TELNYX_AT),
        "telnyx-signature-ed25519": TELNYX_SIGNATURE,
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    verify_telnyx(body, given, public_key=key, now_s=now_s)


def test_the_vector_of_telnyx_is_genuine():
    telnyx()
    telnyx(key=f"{'A' * 43}=,{TELNYX_KEY}", now_s=TELNYX_AT + 300)


@pytest.mark.parametrize(
    "changed",
    [
        {"body": TELNYX_BODY + b" "},
        {"key": ""},
        {"key": "AAAA"},
        {"key": "%"},
        {"key": "A" * 43 + "="},
        {"now_s": TELNYX_AT + 301},
        {"now_s": TELNYX_AT - 301},
        {"telnyx_timestamp": str(TELNYX_AT + 1)},
        {"telnyx_timestamp": "hello"},
        {"telnyx_timestamp": None},
        {"telnyx_signature_ed25519": None},
        {"telnyx_signature_ed25519": "AAAA"},
        {"telnyx_signature_ed25519": "%"},
        {"telnyx_signature_ed25519": TELNYX_SIGNATURE.replace("V", "W")},
    ],
)
def test_what_telnyx_did_not_sign_is_no_proof(changed):
    with pytest.raises(SignatureError):
        telnyx(**changed)
