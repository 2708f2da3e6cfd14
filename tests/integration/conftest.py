"""A Postgres schema for each module that looks at the ledger as a whole."""

from collections.abc import Iterator

import pytest

from embedded.stack import Stack
from models.database import Database


@pytest.fixture(scope="module")
def ledger_url(stack: Stack, request: pytest.FixtureRequest) -> Iterator[str]:
    """A schema of the module's own: leaders look at all batches that there are."""
    stack.postgres.start()
    schema = request.module.__name__.rpartition(".")[2]
    server = Database(stack.postgres.url, pool_size=1)
    with server.statement() as connection:
        connection.exec_driver_sql(f"create schema {schema}")
    separator = "&" if "?" in stack.postgres.url else "?"
    # No test here kills Postgres, and none should wait for its disk.
    options = f"-csearch_path%3D{schema}%20-csynchronous_commit%3Doff"
    yield f"{stack.postgres.url}{separator}options={options}"
    with server.statement() as connection:
        connection.exec_driver_sql(f"drop schema {schema} cascade")
    server.close()


@pytest.fixture(scope="module")
def ledger_database(ledger_url: str) -> Iterator[Database]:
    """The tables in a schema of the module's own."""
    database = Database(ledger_url, pool_size=6)
    database.migrate()
    yield database
    database.close()
