"""The door to Postgres: connections, transactions and migrations."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from models.errors import InvalidInputError, NeighbourUnavailableError

#: The driver's own come where SQLAlchemy gives a connection back to its pool.
_AWAY = (
    OperationalError,
    InterfaceError,
    PoolTimeoutError,
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
)
_MIGRATIONS = Path(__file__).parent.parent / "migrations" / "postgres"


class Database:
    """Postgres, through a pool of connections that are made when first needed.

    Fails closed: when Postgres does not answer, `NeighbourUnavailableError` is
    raised and what was asked may or may not have been committed.

    Transactions and single statements have a pool of up to `pool_size` each. Single
    statements are prepared, unless `prepares` is false (see `models.prepared`).
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 20,
        pool_timeout_s: float = 30.0,
        prepares: bool = True,
    ) -> None:
        self._engine = _engine(url, pool_size, pool_timeout_s)
        # A pool of its own: a connection that changes between the two ways costs a
        # round trip each time, and may fail after its statement was carried out.
        self._autocommit = _engine(
            url, pool_size, pool_timeout_s, isolation_level="AUTOCOMMIT"
        ).execution_options(prepares=prepares)
        #: How many connections each of the two pools may have.
        self.pool_size = pool_size
        self._most_in_use = 0
        for pool in self._pools():
            event.listen(pool, "checkout", partial(self._checked_out, pool))

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Give a connection whose work is committed at the end, or undone."""
        with _translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def statement(self) -> Iterator[Connection]:
        """Give a connection on which every statement is its own transaction.

        One round trip each, which is what a claim costs.
        """
        with _translated(), self._autocommit.connect() as connection:
            yield connection

    def migrate(self) -> None:
        """Bring the tables up to date; two at once wait for each other."""
        # Only who migrates needs it; it is slow to import and logs as it loads.
        from alembic import command  # noqa: PLC0415 - see above.
        from alembic.config import Config  # noqa: PLC0415 - see above.

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        with self.transaction() as connection:
            connection.exec_driver_sql("select pg_advisory_xact_lock(7126342)")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def ping(self) -> None:
        """Raise `NeighbourUnavailableError` unless Postgres answers."""
        with self.statement() as connection:
            connection.exec_driver_sql("select 1")

    def most_in_use(self) -> int:
        """Return how many connections of a pool were in use at once, at most.

        Since this was last asked, and of the pool that had more.
        """
        most = self._most_in_use
        self._most_in_use = max(pool.checkedout() for pool in self._pools())
        return most

    def _checked_out(self, pool: QueuePool, *_: object) -> None:
        self._most_in_use = max(self._most_in_use, pool.checkedout())

    def _pools(self) -> list[QueuePool]:
        pools = (self._engine.pool, self._autocommit.pool)
        return [pool for pool in pools if isinstance(pool, QueuePool)]

    def close(self) -> None:
        """Close every pooled connection; a second time does nothing."""
        self._engine.dispose()
        self._autocommit.dispose()


def _engine(url: str, pool_size: int, pool_timeout_s: float, **options: Any) -> Engine:
    if url.startswith(("postgres://", "postgresql://")):
        url = "postgresql+psycopg2://" + url.split("://", 1)[1]
    try:
        return create_engine(
            url,
            # Parameters are people's addresses: no traceback shows them.
            hide_parameters=True,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=pool_timeout_s,
            **options,
            connect_args={
                "connect_timeout": 5,
                # A server that was cut off must not hold a worker for hours.
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,
            },
        )
    except ArgumentError as error:
        raise InvalidInputError(
            "DATABASE_URL is no database URL; write it as "
            "postgresql://user:password@host:5432/name.",
            field="DATABASE_URL",
        ) from error


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _AWAY as error:
        raise NeighbourUnavailableError(_why(error)) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise NeighbourUnavailableError(_why(error)) from error
        raise


def _why(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    first = str(cause).strip().splitlines()[0] if str(cause).strip() else "no answer"
    return f"Postgres does not answer ({first}); check DATABASE_URL and the server."
