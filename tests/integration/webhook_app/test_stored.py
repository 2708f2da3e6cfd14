"""A report is in NATS before its provider hears 200; without NATS it hears 503."""

import orjson
import pytest

from tests.fakes.reports import RESEND_EVENT, standard_headers
from webhook_app import create_app


@pytest.fixture
def post(receiver_settings, broker):
    client = create_app(receiver_settings).test_client()

    def post(body=None, **options):
        raw = orjson.dumps(RESEND_EVENT if body is None else body)
        headers = standard_headers(raw, **options)
        return client.post("/webhooks/resend", data=raw, headers=headers)

    return post


def test_a_report_is_stored_under_its_provider_and_event(post, broker, stored):
    answers = [post(report_id=one).status_code for one in ("a", "a", "b")]

    assert answers == [200, 200, 200]
    assert broker.stored("webhook") == {"": 2}
    found = stored(2)
    assert [one["event_id"] for one in found] == ["a", "b"]
    assert {one["event"] for one in found} == {"email.delivered"}
    assert found[0]["body"] == RESEND_EVENT


@pytest.mark.parametrize(
    "event", ["Rendering Failure", "a.b.>", "ü", "$SYS", " ", "x" * 100]
)
def test_any_event_has_a_subject(post, stored, event):
    """Whatever the provider calls it: its name is kept, the subject is ours."""
    assert post({"type": event}, report_id=event.encode().hex()).status_code == 200

    assert [one["event"] for one in stored(1)] == [event]


def test_a_report_that_cannot_be_written_again_is_malformed(post):
    """JSON that is nested deeper than what we can write."""
    deep = b'{"type": "x", "data": ' + b"[" * 300 + b"]" * 300 + b"}"

    assert post(orjson.Fragment(deep)).status_code == 400


def test_while_nats_is_away_a_report_is_asked_for_again(receiver_settings, monkeypatch):
    monkeypatch.setattr("webhook_app._PATIENCE_S", 0.3)
    nowhere = receiver_settings.model_copy(update={"nats_url": "nats://127.0.0.1:9"})
    client = create_app(nowhere).test_client()
    raw = orjson.dumps(RESEND_EVENT)

    platform = client.post("/webhooks/resend", data=raw, headers=standard_headers(raw))
    tenants = client.post(
        "/webhooks/resend/7d3f7c0e-0000-4000-8000-000000000000",
        data=raw,
        headers=standard_headers(raw),
    )

    for refused in (platform, tenants):
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
    assert client.get("/health/ready").status_code == 200
