"""A real Postgres with a tenant, its config and drafts."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from models.database import Database
from models.limit import Limit
from models.queries.tenants import NewConfig, create_config, create_tenant
from models.queries.uploads import create_batch


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, pool_size=4)
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def config(database: Database) -> dict[str, Any]:
    with database.transaction() as connection:
        return create_config(
            connection,
            create_tenant(connection, f"tenant-{uuid4()}"),
            NewConfig(
                name="hook",
                channel="webhook",
                provider="custom",
                settings={"url": "http://127.0.0.1:9"},
                credentials=None,
                limit=Limit.of(50),
                policy="at_most_once",
            ),
        )


@pytest.fixture
def make_draft(database: Database, config: dict[str, Any]) -> Callable[[], UUID]:
    def make() -> UUID:
        with database.transaction() as connection:
            return create_batch(connection, config, name="B", payload={"text": "Hi"})

    return make
