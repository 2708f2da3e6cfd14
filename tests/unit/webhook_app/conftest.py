"""A receiver whose reports are stored in a list."""

from typing import Any
from uuid import uuid4

import orjson
import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from models.jobs import RecordWebhook
from models.webhook_secrets import WebhookSecret, carried
from settings import Settings
from tests.fakes.reports import (
    RESEND_EVENT,
    SECRET,
    TELNYX_PUBLIC,
    TOPIC,
    FakeAws,
    standard_headers,
)
from webhook_app import create_app

WEBHOOKS_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


class Stored:
    """What was stored, and a switch for a store that is away."""

    def __init__(self) -> None:
        self.jobs: list[tuple[RecordWebhook, str]] = []
        self.failure: Exception | None = None

    def __call__(self, job: RecordWebhook, *, dedup_id: str) -> bool:
        """Store, unless it is away."""
        if self.failure is not None:
            raise self.failure
        self.jobs.append((job, dedup_id))
        return True


class Tenants:
    """What the bucket holds, and a switch for NATS."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.failure: Exception | None = None
        self.asked = 0

    def __call__(self, config_id: str) -> bytes | None:
        """Answer, unless NATS is away."""
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return self.values.get(config_id)

    def add(self, provider: str, *secrets: str) -> str:
        """Give a new config these secrets; return its id."""
        config_id = str(uuid4())
        sealed = WebhookSecret(config_id, provider, secrets).seal(WEBHOOKS_KEY)
        self.values[config_id] = carried(1, sealed)
        return config_id


class Provider:
    """Sends requests to the receiver."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def post(self, path: str, body: Any = b"", **options: Any) -> Any:
        """Answer of a POST; what is no bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        return self.client.post(f"/webhooks/{path}", data=data, **options)

    def signed(self, path: str = "resend", body: Any = None, **options: Any) -> Any:
        """Answer of a genuine report by Standard Webhooks."""
        raw = orjson.dumps(RESEND_EVENT if body is None else body)
        return self.post(path, raw, headers=standard_headers(raw, **options))


@pytest.fixture
def stored() -> Stored:
    return Stored()


@pytest.fixture
def tenants() -> Tenants:
    return Tenants()


@pytest.fixture(scope="session")
def signer() -> FakeAws:
    """One key for the session: they are dear to make."""
    return FakeAws()


@pytest.fixture
def aws(signer: FakeAws) -> FakeAws:
    signer.fetched.clear()
    signer.is_away = False
    return signer


@pytest.fixture
def settings() -> Settings:
    nowhere = "redis://127.0.0.1:9"
    return Settings(
        _env_file=None,
        database_url=nowhere,
        nats_url="nats://127.0.0.1:9",
        dragonfly_url=nowhere,
        clickhouse_url=nowhere,
        custom_webhook_secret=SecretStr(SECRET),
        resend_webhook_secret=SecretStr(SECRET),
        telnyx_public_key=TELNYX_PUBLIC,
        ses_webhook_secret=SecretStr(TOPIC),
        webhook_secrets_key=SecretStr(WEBHOOKS_KEY),
    )


@pytest.fixture
def client(settings, stored, tenants, aws) -> FlaskClient:
    app = create_app(settings, stored, look_up=tenants, fetch=aws)
    return app.test_client()


@pytest.fixture
def provider(client) -> Provider:
    return Provider(client)
