"""A client for ClickHouse that connects when first used and speaks our errors."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DatabaseError,
    OperationalError,
    StreamFailureError,
)

from models.errors import BatchSenderError, NeighbourUnavailableError

#: ClickHouse's codes for a user that is unknown, not allowed or has another password.
#: Source: https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
_REFUSED_USER = frozenset({192, 193, 194, 516})

#: Codes for a server that is too busy, out of memory or space, or without its peers:
#: the same call may work later. Source as above.
_BUSY = frozenset(
    {159, 202, 203, 209, 210, 241, 242, 243, 252, 285, 319, 439, 745, 999}
)

#: Those mean the way to the server or back; their children are our own mistakes.
_NO_ANSWER = (DatabaseError, OperationalError, StreamFailureError)

#: An insert of 100,000 recipients takes less than one second, a report of a million
#: less than four, on a machine that does much else.
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an insert.

    Attributes:
        name: The column of the table.
        type: ClickHouse's name of its type, so that nobody has to ask for it.
        values: One for each row.
    """

    name: str
    type: str
    values: Sequence[Any]


class Client:
    """A lazily opened connection pool to one database; safe among threads.

    Every method raises `NeighbourUnavailableError` when the server does not answer
    or is too busy, and `BatchSenderError` when it refuses. Callers go on without
    ClickHouse (fail open).
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        parts = urlsplit(url)
        self.database = parts.path.strip("/") or "default"
        self._options: dict[str, Any] = {
            "interface": parts.scheme,
            "host": parts.hostname,
            "port": parts.port or (8443 if parts.scheme == "https" else 8123),
            "username": unquote(parts.username or "default"),
            "password": unquote(parts.password or ""),
            "connect_timeout": timeout_s,
            "send_receive_timeout": timeout_s,
            # A session would let only one thread ask at a time.
            "autogenerate_session_id": False,
            "tz_mode": "aware",
        }
        self._opening = threading.Lock()
        self._opened: Any = None

    def command(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        in_database: bool = True,
    ) -> None:
        """Run a statement that returns nothing; `in_database=False` names its own.

        `{name:Type}` in it takes that parameter.
        """
        with _translated_errors():
            self._library().command(
                statement, parameters=parameters, use_database=in_database
            )

    def rows(
        self, statement: str, parameters: Mapping[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query; `{name:Type}` in it takes that parameter.

        Times come back in UTC and aware of it.
        """
        with _translated_errors():
            answer = self._library().query(statement, parameters=parameters)
            return [tuple(row) for row in answer.result_rows]

    def insert(self, table: str, columns: Sequence[Column], *, token: str) -> None:
        """Insert rows given as columns, stored when this returns.

        Args:
            table: Its name.
            columns: All of one length, at least one row.
            token: The same for the same rows: an insert that is repeated because its
                answer was lost changes nothing.
        """
        with _translated_errors():
            self._library().insert(
                table,
                [column.values for column in columns],
                column_names=[column.name for column in columns],
                column_type_names=[column.type for column in columns],
                column_oriented=True,
                settings={
                    "insert_deduplication_token": token,
                    "deduplicate_blocks_in_dependent_materialized_views": 1,
                    # Whatever the server's profile says: answered means stored.
                    "async_insert": 0,
                },
            )

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        with self._opening:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def _library(self) -> Any:
        with self._opening:
            if self._opened is None:
                # Opened without a database, because the first migration creates it.
                opened = clickhouse_connect.get_client(**self._options)
                opened.database = self.database
                self._opened = opened
            return self._opened


def connect(url: str, *, timeout_s: float = TIMEOUT_S) -> Client:
    """Return a client for `http[s]://user:password@host:port/database`.

    Nothing is connected until the first use.

    Args:
        url: Where and as whom; a password with special letters is percent-encoded.
        timeout_s: How long to wait for a connection, and again for an answer.
    """
    return Client(url, timeout_s=timeout_s)


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except ClickHouseError as error:
        raise _translated(error) from error


def _translated(error: ClickHouseError) -> BatchSenderError:
    """Return our error; the server's text may hold addresses, so it is left out."""
    code = getattr(error, "code", None)
    if code in _REFUSED_USER:
        return BatchSenderError(
            "ClickHouse refused the user or password; check those in CLICKHOUSE_URL."
        )
    if code in _BUSY:
        return NeighbourUnavailableError(f"ClickHouse is busy (code {code}).")
    if code is None and type(error) in _NO_ANSWER:
        return NeighbourUnavailableError("ClickHouse does not answer.")
    return BatchSenderError(
        f"ClickHouse refused a statement (code {code}); are its migrations applied?"
    )
