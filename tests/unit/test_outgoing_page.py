"""What the page for receivers of webhooks says is so."""

import re
from pathlib import Path

import pytest

from models.outgoing import EVENTS, TEST_EVENT
from providers.signatures import standard_webhooks_key, standard_webhooks_signature

PAGE = Path(__file__).parents[2] / "docs" / "outgoing-webhooks.md"
#: The vector of Standard Webhooks' own tests.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID, SENT_AT = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
HEADERS = {
    "webhook-id": MESSAGE_ID,
    "webhook-timestamp": str(SENT_AT),
    "webhook-signature": SIGNATURE,
}


@pytest.fixture
def is_genuine(monkeypatch):
    """The page's own code, at the time of the vector."""
    text = PAGE.read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    found = {}
    exec(compile(block, PAGE.name, "exec"), found)  # noqa: S102 - the page's own code
    monkeypatch.setattr("time.time", lambda: SENT_AT + 10.0)
    return found["is_genuine"]


@pytest.mark.parametrize(
    ("change", "genuine"),
    [
        ({}, True),
        ({"webhook-signature": f"v1,AAAA {SIGNATURE}"}, True),
        ({"webhook-signature": SIGNATURE.replace("1OE=", "1OA=")}, False),
        ({"webhook-signature": SIGNATURE.replace("v1,", "v2,")}, False),
        ({"webhook-id": "msg_other"}, False),
        ({"webhook-timestamp": str(SENT_AT - 300)}, False),
    ],
)
def test_the_pages_code_verifies_by_the_official_vector(*, is_genuine, change, genuine):
    assert is_genuine(HEADERS | change, BODY, SECRET) == genuine


def test_the_pages_code_takes_what_we_sign(is_genuine):
    """Two entries, as while a secret is being changed."""
    signature = standard_webhooks_signature(
        standard_webhooks_key(SECRET),
        message_id=MESSAGE_ID,
        timestamp_s=SENT_AT,
        body=BODY,
    )

    assert signature == SIGNATURE
    headers = HEADERS | {"webhook-signature": f"v1,c29tZXRoaW5n {signature}"}
    assert is_genuine(headers, BODY, SECRET)


def test_every_event_is_on_the_page():
    """None is missing, and none is made up."""
    table = PAGE.read_text(encoding="utf-8").split("## Events")[1].split("\n## ")[0]
    told = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([a-z]+\.[a-z]+)`", line.split(" | ")[0])
    }

    assert told == {*EVENTS, TEST_EVENT}
