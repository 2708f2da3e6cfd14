"""Rows gathered to blocks that are worth an insert, safe on disk meanwhile."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from analytics.spool import Row, Spool, rows_of, token_of
from models.errors import NeighbourUnavailableError
from telemetry import SPOOL_BYTES

log = logging.getLogger("batchsender.buffer")

#: A block of so many rows is inserted at once.
MOST_ROWS = 10_000

#: No row waits longer than this for its block to be full, in seconds.
LONGEST_S = 5.0

#: What one process holds on its disk while ClickHouse is away: some million rows.
SPOOL_CAP_BYTES = 512 * 1024 * 1024

#: Seconds before a failed insert is tried again: doubled each time up to the last.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0

#: Seconds between two looks for what processes that died left behind.
_ADOPT_EVERY_S = 30.0

#: Stores rows under a token; raises a `BatchSenderError` where they are not stored.
Insert = Callable[[Sequence[Row], str], None]


class Buffer:
    """Takes rows from any thread and inserts them in blocks, from a thread of its own.

    A row is on the disk when `add` returns, and stays there until ClickHouse has it:
    whoever added it may acknowledge its source. It is inserted at least once, always
    in the same block under the same token, whoever replays it: this process, or the
    next one on this disk after a kill. The tables make that exactly once. Blocks go
    in order of age; one that ClickHouse refuses is tried again later and keeps nobody
    waiting.

    Make it after a fork: its thread and its lock belong to one process.
    """

    def __init__(
        self,
        insert: Insert,
        spool_dir: Path,
        *,
        most_rows: int = MOST_ROWS,
        longest_s: float = LONGEST_S,
        spool_cap_bytes: int = SPOOL_CAP_BYTES,
    ) -> None:
        """Take over what processes that died left in the folder, and begin.

        Args:
            insert: Takes the rows of a block, as JSON gives them back, and its token.
            spool_dir: For this kind of rows alone; all its processes on a machine
                share it. Its last part names the rows in the metrics.
            most_rows: A block is inserted when it has so many.
            longest_s: Or when its oldest row is so old.
            spool_cap_bytes: `add` refuses more than this on the disk.
        """
        self._insert = insert
        self._most_rows = most_rows
        self._longest_s = longest_s
        self._spool = Spool(spool_dir, cap_bytes=spool_cap_bytes)
        self._gauge = SPOOL_BYTES.labels(spool_dir.name)
        self._changed = threading.Condition()
        self._rows = 0
        self._oldest_at = 0.0
        self._retry_at = 0.0
        self._failures = 0
        self._adopt_at = 0.0
        self._asked = self._answered = 0
        self._closing = False
        self._thread = threading.Thread(
            target=self._run, name=f"buffer-{spool_dir.name}", daemon=True
        )
        self._thread.start()

    def add(self, rows: Sequence[Row]) -> None:
        """Take rows of JSON's types; they are on the disk when this returns.

        Costs one write to the disk: give many at once. Fails closed: raises
        `NeighbourUnavailableError`, with no row promised, when the spool is full, its
        disk refuses or the buffer is closed. The caller keeps its source, such as a
        message in NATS, and comes again later.
        """
        if not rows:
            return
        with self._changed:
            if self._closing:
                raise NeighbourUnavailableError("The buffer is closed.")
            try:
                self._spool.append(rows)
            finally:
                self._gauge.set(self._spool.bytes)
            if not self._rows:
                self._oldest_at = time.monotonic()
            self._rows += len(rows)
            if self._rows == len(rows) or self._rows >= self._most_rows:
                self._changed.notify_all()

    def flush(self, *, timeout_s: float = 60.0) -> bool:
        """Insert all that was added, now, and tell whether ClickHouse has it."""
        with self._changed:
            self._asked += 1
            asked = self._asked
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._answered >= asked or not self._thread.is_alive(),
                timeout_s,
            )
            return self._answered >= asked and not self._spool.sealed()

    def close(self, *, timeout_s: float = 10.0) -> bool:
        """Insert what waits, end the thread, and tell whether nothing is left.

        What is left stays on the disk for another process or the next start. Again:
        changes nothing.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._spool.sealed()

    def _run(self) -> None:
        while True:
            with self._changed:
                # Rows that were added meanwhile are due sooner than was thought.
                while not self._is_due():
                    self._changed.wait(self._idle_s())
                closing, asked = self._closing, self._asked
                self._prepare(forced=closing or asked > self._answered)
                blocks = self._blocks(forced=closing or asked > self._answered)
            self._store(blocks)
            with self._changed:
                self._answered = asked
                self._changed.notify_all()
            if closing:
                self._spool.close()
                return

    def _is_due(self) -> bool:
        now = time.monotonic()
        return (
            self._closing
            or self._asked > self._answered
            or self._rows >= self._most_rows
            or now >= self._adopt_at
            or (self._rows > 0 and now >= self._oldest_at + self._longest_s)
            or (self._failures > 0 and now >= self._retry_at)
        )

    def _idle_s(self) -> float:
        """Return how long nothing is due if nothing happens."""
        times = [self._adopt_at]
        if self._rows:
            times.append(self._oldest_at + self._longest_s)
        if self._failures:
            times.append(self._retry_at)
        return max(0.0, min(times) - time.monotonic())

    def _prepare(self, *, forced: bool) -> None:
        """Seal what is due, and take over what was left behind."""
        now = time.monotonic()
        old = now >= self._oldest_at + self._longest_s
        if forced or old or self._rows >= self._most_rows:
            self._spool.seal()
            self._rows = 0
        if now >= self._adopt_at:
            self._adopt_at = now + _ADOPT_EVERY_S
            self._adopt()

    def _adopt(self) -> None:
        try:
            adopted = self._spool.adopt()
        except OSError:
            log.exception("What former processes spooled cannot be taken over yet.")
            return
        if adopted:
            log.info("Took over %d spooled blocks of a former process.", adopted)

    def _blocks(self, *, forced: bool) -> list[Path]:
        waits = self._failures and time.monotonic() < self._retry_at
        return [] if waits and not forced else self._spool.sealed()

    def _store(self, blocks: Sequence[Path]) -> None:
        failed = False
        for block in blocks:
            try:
                self._insert(rows_of(block), token_of(block))
            except NeighbourUnavailableError as error:
                log.warning("Rows wait in the spool: %s", error)
                failed = True
                break
            # This thread's outermost loop: no block may keep the others waiting.
            except Exception:
                log.exception("The spooled block %s was refused.", block.name)
                failed = True
            else:
                self._forget(block)
        if blocks:
            self._back_off(failed=failed)

    def _forget(self, block: Path) -> None:
        with self._changed:
            self._spool.remove(block)
            self._gauge.set(self._spool.bytes)

    def _back_off(self, *, failed: bool) -> None:
        self._failures = self._failures + 1 if failed else 0
        wait_s = min(_FIRST_WAIT_S * 2 ** min(self._failures, 10), _LONGEST_WAIT_S)
        self._retry_at = time.monotonic() + wait_s
