"""The API over a real Postgres, and a tenant that calls it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr
from werkzeug.test import TestResponse

from models.database import Database
from models.queries.api_keys import create_api_key
from models.queries.tenants import create_tenant
from settings import Settings
from web_app import create_app

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


@dataclass(frozen=True)
class Caller:
    """A tenant's way to call the API."""

    client: FlaskClient
    tenant_id: UUID
    key: str

    def ask(self, method: str, path: str, **options: Any) -> TestResponse:
        """Answer of one request with the tenant's key."""
        headers = {"Authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        return self.client.open(path, method=method, headers=headers, **options)

    def get(self, path: str) -> TestResponse:
        """Answer of a GET."""
        return self.ask("GET", path)

    def post(self, path: str, body: Any = None) -> TestResponse:
        """Answer of a POST of JSON."""
        return self.ask("POST", path, json=body or {})

    def upload(
        self, batch_id: str, rows: bytes | str, *, part: int = 0, kind: str = "text/csv"
    ) -> TestResponse:
        """Answer of an upload of one part."""
        path = f"/api/batches/{batch_id}/recipients?part={part}"
        return self.ask("POST", path, data=rows, content_type=kind)

    def make_config(self, name: str = "hook", **fields: Any) -> dict[str, Any]:
        """A config as the API showed it; fields override."""
        body = {
            "name": name,
            "channel": "email",
            "provider": "custom",
            "settings": {"url": "http://127.0.0.1:9/sink"},
        }
        answer = self.post("/api/send-configs", body | fields)
        assert answer.status_code == 201, answer.text
        return answer.json

    def make_batch(self, text: str = "Hello {{ name }}", **fields: Any) -> str:
        """A new draft's id; fields override."""
        body = {"sendConfig": "hook", "payload": {"text": text}} | fields
        answer = self.post("/api/batches", body)
        assert answer.status_code == 201, answer.text
        return answer.json["id"]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, pool_size=4)
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        database_url=database_url,
        nats_url="nats://127.0.0.1:9",
        dragonfly_url="redis://127.0.0.1:9",
        clickhouse_url="http://127.0.0.1:9",
        database_pool_size=4,
        max_upload_bytes=2_000_000,
        credentials_key=SecretStr(KEY),
        webhook_secrets_key=SecretStr(KEY),
        spool_dir=tmp_path / "spool",
    )


@pytest.fixture
def app(database: Database, settings: Settings) -> Iterator[Flask]:
    app = create_app(settings)
    yield app
    app.extensions["batchsender"].audit.close()


@pytest.fixture
def make_caller(app: Flask, database: Database) -> Callable[[], Caller]:
    def make() -> Caller:
        with database.transaction() as connection:
            tenant_id = create_tenant(connection, f"tenant-{uuid4()}")
            key = create_api_key(connection, tenant_id, "tests")
        return Caller(app.test_client(), tenant_id, key)

    return make


@pytest.fixture
def tenant(make_caller: Callable[[], Caller]) -> Caller:
    caller = make_caller()
    caller.make_config()
    return caller
