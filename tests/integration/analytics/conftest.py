"""A fresh database for each test, and a ClickHouse that a test may kill."""

import uuid

import pytest

from analytics.client import connect
from analytics.migrations import migrate
from embedded.stack import Stack


@pytest.fixture
def fresh_url(clickhouse_url):
    """The URL of a database that no other test uses and nobody created yet."""
    server, _, _ = clickhouse_url.rpartition("/")
    return f"{server}/test_{uuid.uuid4().hex}"


@pytest.fixture
def client(fresh_url):
    """A client of a fresh, migrated database."""
    client = connect(fresh_url, timeout_s=20)
    migrate(client)
    yield client
    client.command(f"DROP DATABASE `{client.database}`", in_database=False)
    client.close()


@pytest.fixture
def own_server(tmp_path):
    """A running ClickHouse of its own, for a test that kills it."""
    stack = Stack(tmp_path)
    stack.clickhouse.start()
    yield stack.clickhouse
    stack.stop()
