"""A receiver over a real NATS, and what it has stored."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from brokers import JetStreamBroker, dispatch
from settings import Settings
from tests.fakes.reports import SECRET


@pytest.fixture
def receiver_settings(nats_url: str, tmp_path: Path) -> Settings:
    nowhere = "redis://127.0.0.1:9"
    return Settings(
        _env_file=None,
        database_url=nowhere,
        nats_url=nats_url,
        dragonfly_url=nowhere,
        clickhouse_url=nowhere,
        spool_dir=tmp_path / "spool",
        resend_webhook_secret=SecretStr(SECRET),
        webhook_secrets_key=SecretStr("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
    )


@pytest.fixture
def broker(nats_url: str) -> Iterator[JetStreamBroker]:
    broker = dispatch.connect(nats_url, middleware=[])
    broker.declare_queue("webhook")
    broker.flush("webhook")
    yield broker
    broker.flush("webhook")
    broker.close()


@pytest.fixture
def stored(broker: JetStreamBroker) -> Callable[[int], list[dict]]:
    """Return so many stored reports, once they are there."""

    def take(count: int) -> list[dict]:
        consumer = broker.consume("webhook", prefetch=count, timeout=100)
        found, deadline = [], time.monotonic() + 60
        while len(found) < count:
            assert time.monotonic() < deadline
            message = next(consumer)
            if message is not None:
                consumer.ack(message)
                found.append(message.kwargs)
        consumer.close()
        return found

    return take
