"""A tenant's webhook secret reaches the receiver within seconds, and nobody else."""

import base64
import time

import orjson
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from brokers import dispatch
from models.queries.api_keys import create_api_key
from models.queries.tenants import create_tenant
from models.webhook_secrets import BUCKET
from scheduler import webhook_secrets
from scheduler.webhook_secrets import WebhookSecrets
from settings import Settings
from tests.fakes.reports import (
    KEY,
    OTHER_KEY,
    OTHER_SECRET,
    RESEND_EVENT,
    SECRET,
    standard_headers,
)
from web_app import create_app as create_web_app
from webhook_app import accounts
from webhook_app import create_app as create_receiver

CREDENTIALS_KEY = base64.b64encode(b"c" * 32).decode()


@pytest.fixture
def web_settings(ledger_url, receiver_settings):
    return Settings(
        _env_file=None,
        **receiver_settings.model_dump(
            exclude={"database_url", "credentials_key", "timing"}
        ),
        database_url=ledger_url,
        credentials_key=SecretStr(CREDENTIALS_KEY),
    )


@pytest.fixture
def bucket(nats_url):
    broker = dispatch.connect(nats_url, middleware=[])
    yield broker.bucket(BUCKET)
    broker.close()


@pytest.fixture
def duty(ledger_database, bucket):
    return WebhookSecrets(ledger_database, bucket)


class Api:
    """A tenant that calls the API."""

    def __init__(self, app, key):
        self.client = app.test_client()
        self.headers = {"Authorization": f"Bearer {key}"}

    def create(self, **fields):
        body = {
            "name": f"config {time.time_ns()}",
            "channel": "email",
            "provider": "resend",
            "credentials": {"apiKey": "re_hush"},
        } | fields
        return self.client.post("/api/send-configs", json=body, headers=self.headers)

    def change(self, config_id, secret):
        path = f"/api/send-configs/{config_id}/webhook-secret"
        body = {"webhookSecret": secret}
        return self.client.put(path, json=body, headers=self.headers)


@pytest.fixture
def api(ledger_database, web_settings):
    app = create_web_app(web_settings)
    with ledger_database.transaction() as connection:
        tenant_id = create_tenant(connection, f"tenant {time.time_ns()}")
        return Api(app, create_api_key(connection, tenant_id, "tests"))


@pytest.fixture
def report(receiver_settings, broker):
    client = create_receiver(receiver_settings).test_client()

    def report(config_id, key):
        raw = orjson.dumps(RESEND_EVENT)
        path = f"/webhooks/resend/{config_id}"
        headers = standard_headers(raw, f"r{time.time_ns()}", key=key)
        return client.post(path, data=raw, headers=headers).status_code

    return report


def until(is_so, *, within_s=30.0):
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline


def test_a_secret_is_known_within_five_seconds():
    """What each of the two may take, if neither waits for a slow machine."""
    assert webhook_secrets.EVERY_S + accounts.FRESH_S < 5


def test_a_tenant_sets_and_changes_its_secret(api, duty, report, stored):
    """New, two of them during a rotation, the new one alone, none."""
    made = api.create(webhookSecret=SECRET)
    config_id = made.json["id"]
    duty.publish()

    assert report(config_id, KEY) == 200
    assert made.json["webhookPath"] == f"/webhooks/resend/{config_id}"
    assert [one["config_id"] for one in stored(1)] == [config_id]

    api.change(config_id, [SECRET, OTHER_SECRET])
    duty.publish()
    until(lambda: report(config_id, OTHER_KEY) == 200)
    assert report(config_id, KEY) == 200

    api.change(config_id, OTHER_SECRET)
    duty.publish()
    until(lambda: report(config_id, KEY) == 401)

    api.change(config_id, None)
    duty.publish()
    until(lambda: report(config_id, OTHER_KEY) == 401)


def test_a_secret_is_never_shown_and_is_stored_sealed(
    api, duty, ledger_database, bucket
):
    """Nor do the credentials go where the receiver can read."""
    made = api.create(webhookSecret=SECRET)
    config_id = made.json["id"]
    duty.publish()
    listed = api.client.get("/api/send-configs", headers=api.headers)

    with ledger_database.statement() as connection:
        row = connection.execute(
            text("select * from send_configs where id = :id"), {"id": config_id}
        ).one()
    there = bucket.get(config_id).value

    assert SECRET not in made.text + listed.text
    kept = bytes(row.webhook_secret)
    assert there.endswith(kept)
    assert bytes(row.credentials) not in there
    assert SECRET.encode() not in kept


@pytest.mark.parametrize("secret", ["whsec_", "hush", 1, [], [SECRET] * 6])
def test_a_secret_that_is_none_is_refused(api, secret):
    refused = api.create(webhookSecret=secret)

    assert refused.status_code in (400, 422)
    assert "webhookSecret" in refused.text
    assert "hush" not in refused.text


def test_who_reports_nothing_has_no_secret(api):
    unknown = api.change("7d3f7c0e-0000-4000-8000-000000000000", SECRET)
    lime = api.create(
        provider="lime",
        channel="sms",
        credentials={"user": "u", "apiId": "a"},
        webhookSecret=SECRET,
    )

    assert unknown.status_code == 404
    assert lime.status_code in (400, 422)
    assert "reports nothing" in lime.text


def test_a_secret_that_never_was_is_unknown_to_the_receiver(api, duty, report):
    config_id = api.create().json["id"]
    duty.publish()

    assert report(config_id, KEY) == 404


def test_nothing_changed_nothing_is_carried(api, duty):
    api.create(webhookSecret=SECRET)
    duty.publish()

    assert duty.publish() == 0


def test_an_earlier_leader_does_not_undo_a_later_one(
    api, duty, bucket, ledger_database
):
    """It read a secret, slept while it was changed and carried, and goes on."""
    config_id = api.create(webhookSecret=SECRET).json["id"]
    with ledger_database.statement() as connection:
        (old,) = webhook_secrets.webhook_secrets.unpublished_webhook_secrets(
            connection, most=10
        )
    api.change(config_id, OTHER_SECRET)
    duty.publish()
    new = bucket.get(config_id).value

    duty._put(old)

    assert bucket.get(config_id).value == new


def test_what_the_bucket_has_lost_is_carried_again(api, duty, bucket, monkeypatch):
    config_id = api.create(webhookSecret=SECRET).json["id"]
    duty.publish()
    bucket.delete(config_id)

    duty.publish()
    assert bucket.get(config_id) is None
    monkeypatch.setattr(webhook_secrets, "LOOK_EVERY_S", 0.0)
    duty.publish()

    assert bucket.get(config_id) is not None
