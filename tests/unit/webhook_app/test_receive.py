"""A report is answered with 200 only after it was stored."""

import base64
import hashlib
import hmac
import time
from typing import Any

import pytest
from pydantic import SecretStr

from models.errors import NeighbourUnavailableError
from tests.fakes.reports import KEY
from webhook_app import create_app
from webhook_app.requests import MAX_BODY_BYTES

REPORT = b'{"type": "delivered", "data": {"messageId": "m1"}}'


def post(client, body: bytes = REPORT, *, report_id: str = "r1", **headers: Any):
    now = str(int(time.time()))
    signed = f"{report_id}.{now}.".encode() + body
    right = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    sent = {
        "webhook-id": report_id,
        "webhook-timestamp": now,
        "webhook-signature": f"v1,{right}",
    } | headers
    return client.post("/webhooks/custom/m1", data=body, headers=sent)


def test_a_genuine_report_is_stored_under_its_id(client, stored):
    answers = [post(client), post(client), post(client, report_id="r2")]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    (job, first), (_, again), (_, other) = stored.jobs
    assert (job.provider, job.event) == ("custom", "delivered")
    assert job.body["data"] == {"messageId": "m1"}
    assert first == again != other


def test_a_report_that_proves_nothing_is_refused_and_not_stored(client, stored):
    wrong = post(client, **{"webhook-signature": "v1,AAAA"})
    malformed = post(client, **{"webhook-signature": "v1"})
    unsigned = client.post("/webhooks/custom/m1", data=REPORT)

    assert {a.status_code for a in (wrong, malformed, unsigned)} == {401}
    assert stored.jobs == []


def test_without_a_secret_every_report_is_refused(settings, stored):
    open_to_all = settings.model_copy(update={"custom_webhook_secret": SecretStr("")})

    refused = post(create_app(open_to_all, stored).test_client())

    assert refused.status_code == 401
    assert stored.jobs == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'{"type": 1}', 400),
        (b'{"type": ""}', 400),
        (b'{"type": "x' + b"x" * MAX_BODY_BYTES + b'"}', 413),
    ],
)
def test_a_report_that_cannot_be_read_is_refused(client, stored, body, status):
    assert post(client, body).status_code == status
    assert stored.jobs == []


@pytest.mark.parametrize(
    "failure", [NeighbourUnavailableError("nats://secret-host"), RuntimeError("hush")]
)
def test_a_report_that_was_not_stored_is_asked_for_again(client, stored, failure):
    stored.failure = failure

    refused = post(client)

    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "10"
    assert "secret-host" not in refused.text
    assert "hush" not in refused.text


def test_probes_answer_while_the_process_does(client):
    """NATS away is answered with 503 to providers, not by going out of service."""
    for probe in ("/health", "/health/live", "/health/ready"):
        assert client.get(probe).status_code == 200
