"""The engine in this process, and its handles lent to one query at a time."""

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any

import chdb

from embedded.clickhouse_request import QueryError, Request

_CODE = re.compile(r"Code:\s*(\d+)\.?\s*(?:DB::Exception:\s*)?")
_SHORT = "TabSeparated"


def query_error(error: Exception) -> QueryError:
    """Return what the engine said, with the number it gave."""
    text = str(error)
    found = _CODE.search(text)
    if found is None:
        return QueryError(1002, text)
    return QueryError(int(found[1]), text[found.end() :])


@dataclass(slots=True)
class Summary:
    """What a query read and wrote; `json` is the header clickhouse-connect reads."""

    read_rows: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    began_s: float = 0.0

    @property
    def json(self) -> str:
        """The figures as ClickHouse writes them: text, times in nanoseconds."""
        figures = {
            "read_rows": self.read_rows,
            "written_rows": self.written_rows,
            "written_bytes": self.written_bytes,
            "elapsed_ns": int((time.perf_counter() - self.began_s) * 1e9),
        }
        return json.dumps({name: str(value) for name, value in figures.items()})


class Handle:
    """One connection to the engine, with the database and settings set on it."""

    def __init__(self, target: str) -> None:
        self._connection = chdb.connect(target)
        self._database = ""
        self._settings: dict[str, str] = {}

    def prepare(self, database: str, settings: Mapping[str, str]) -> None:
        """Make exactly this database and these settings hold for the next query."""
        if database != self._database:
            self.text(f"USE `{database.replace('`', '``')}`")
            self._database = database
        for name in self._settings.keys() - settings.keys():
            self.text(f"SET {name} = DEFAULT")
            del self._settings[name]
        for name, value in settings.items():
            if self._settings.get(name) != value:
                self.text(f"SET {name} = {_quoted(value)}")
                self._settings[name] = value

    def text(self, sql: str) -> str:
        """Return a small answer as text."""
        answer: bytes = self._connection.query(sql, _SHORT).bytes() or b""
        return answer.decode().strip()

    def query(self, request: Request, answer_format: str) -> Any:
        """Return the whole answer of the engine, in its own type."""
        return self._connection.query(
            request.sql, answer_format, params=dict(request.binds)
        )

    def stream(self, request: Request) -> Iterator[bytes]:
        """Yield the answer block by block; it never is in memory as a whole."""
        answer = self._connection.send_query(
            request.sql, request.answer_format, params=dict(request.binds)
        )
        try:
            for block in answer:
                data = block.bytes()
                if data:
                    yield data
        finally:
            answer.close()

    def insert(self, request: Request, summary: Summary) -> None:
        """Insert the data once all have arrived; nothing stays of half an INSERT.

        They are read as a file, because the engine's own streaming insert reports
        success when a materialized view behind the table failed.
        """
        with os.fdopen(os.memfd_create("insert"), "wb") as spool:
            for piece in request.data:
                spool.write(piece)
            spool.flush()
            result = self._connection.query(
                f"{request.sql} FROM INFILE '/proc/self/fd/{spool.fileno()}'"
                f" COMPRESSION 'none' FORMAT {request.data_format}"
            )
        summary.written_rows = result.rows_read()
        summary.written_bytes = result.bytes_read()

    def close(self) -> None:
        """Give it back to the engine."""
        self._connection.close()


class Engine:
    """The one engine of a directory.

    Args:
        path: Its data; made when missing.
        config: A server's XML configuration.
        database: Made when missing. It is not `default`, whose engine here cannot
            do all that a server's can.
        handles: How many queries may run at once; the next one waits.
    """

    def __init__(
        self, path: Path, config: Path, *, database: str, handles: int
    ) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._target = f"{path}?config-file={config}"
        self._handles = handles
        self._free: LifoQueue[Handle] = LifoQueue()
        self._room = threading.BoundedSemaphore(handles)
        # The engine lives as long as this handle.
        self._root = Handle(self._target)
        self.timezone = self._root.text("SELECT timezone()")
        self._root.text(f"CREATE DATABASE IF NOT EXISTS `{database}`")

    @contextlib.contextmanager
    def lent(self, request: Request) -> Iterator[Handle]:
        """Lend a handle made ready for the request.

        One that met an error, or was left with a state of its own, is thrown away.
        """
        with self._room:
            handle = self._take()
            try:
                handle.prepare(request.database, request.settings)
                yield handle
            except BaseException:
                handle.close()
                raise
            if request.changes_state:
                handle.close()
            else:
                self._free.put(handle)

    def _take(self) -> Handle:
        try:
            return self._free.get_nowait()
        except Empty:
            return Handle(self._target)

    def close(self, *, timeout_s: float) -> None:
        """End the engine when its queries have ended, or after the time."""
        deadline = time.monotonic() + timeout_s
        for _ in range(self._handles):
            self._room.acquire(timeout=max(0.0, deadline - time.monotonic()))
        while not self._free.empty():
            self._free.get().close()
        self._root.close()


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
