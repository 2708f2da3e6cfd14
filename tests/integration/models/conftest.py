"""A real Postgres with a tenant, its config and a draft."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from models.database import Database
from models.limit import Limit
from models.queries.tenants import NewConfig, create_config, create_tenant
from models.queries.uploads import PartAnswer, create_batch, take_part
from models.recipients import Block


@dataclass(frozen=True)
class Draft:
    """A batch that takes recipients."""

    database: Database
    tenant_id: UUID
    id: UUID

    def take(self, part: int, blocks: Iterable[Block]) -> PartAnswer:
        """Take one part in its own transaction."""
        with self.database.transaction() as connection:
            return take_part(connection, self.tenant_id, self.id, part, blocks)

    def rows(self) -> list[tuple[Any, ...]]:
        """Everybody's seq, address and variable `n`."""
        return self._asked(
            "select seq, address, variables ->> 'n' from recipients"
            " where batch_id = %s order by seq"
        )

    def counters(self) -> tuple[Any, ...]:
        """The batch's rows, recipients, duplicates, invalid and names."""
        return self._asked(
            "select rows, recipients, duplicates, invalid, variable_names"
            " from batches where id = %s"
        )[0]

    def _asked(self, statement: str) -> list[tuple[Any, ...]]:
        with self.database.statement() as connection:
            found = connection.exec_driver_sql(statement, (self.id,))
            return [tuple(row) for row in found]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, pool_size=5)
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
def draft(database: Database, config: dict[str, Any]) -> Draft:
    with database.transaction() as connection:
        batch_id = create_batch(connection, config, name="B", payload={"text": "Hi"})
    return Draft(database, config["tenant_id"], batch_id)
