"""Rows on disk until ClickHouse has them: a file for each block to be inserted."""

import fcntl
import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

import orjson

from models.errors import NeighbourUnavailableError

log = logging.getLogger("batchsender.spool")

#: What a file is called while it grows, and once it never changes again.
_OPEN, _SEALED = ".open", ".block"

#: Held by the process that a folder belongs to, for as long as it lives.
_LOCK = "lock"

#: One row: only what JSON knows, because a row may outlive the process.
Row = Sequence[Any]


class Spool:
    """The blocks of one process: one that grows, and those that wait.

    Each process has a folder of its own, locked while it lives. A folder whose lock
    is free was left by a process that died: `adopt` takes its blocks over. Not safe
    among threads.

    A file holds a line for each call of `append`: its checksum, then its rows. So a
    line that was cut off by a crash is told from one that is whole; nobody was told
    that it was stored.
    """

    def __init__(self, folder: Path, *, cap_bytes: int) -> None:
        """Make the folder of this process.

        Args:
            folder: Shared by the processes that write the same kind of rows.
            cap_bytes: `append` refuses what would make this process hold more.
        """
        self._shared = folder
        self._cap_bytes = cap_bytes
        self._own, self._lock = _locked_folder(folder)
        self._file: int | None = None
        self._path = self._own
        self.bytes = 0

    def append(self, rows: Sequence[Row]) -> None:
        """Add rows to the block that grows; they are on the disk when this returns.

        Raises `NeighbourUnavailableError` where the cap is reached or the disk
        refuses; none of these rows is promised then.
        """
        line = _line(rows)
        if self.bytes + len(line) > self._cap_bytes:
            raise NeighbourUnavailableError(
                "The spool is full, because ClickHouse does not take what waits in it."
            )
        try:
            self._write(line)
        except OSError as error:
            # How much of it is on the disk is unknown: nothing more is added to it.
            self.seal()
            self._count()
            raise NeighbourUnavailableError(
                f"The spool's disk refuses ({error.strerror})."
            ) from error
        self.bytes += len(line)

    def seal(self) -> None:
        """End the block that grows, if there is one; it never changes again."""
        if self._file is None:
            return
        os.close(self._file)
        self._file = None
        self._path.rename(self._path.with_suffix(_SEALED))

    def sealed(self) -> list[Path]:
        """Return the blocks that wait, oldest first."""
        return sorted(self._own.glob(f"*{_SEALED}"))

    def remove(self, block: Path) -> None:
        """Forget a block that is stored."""
        self.bytes -= block.stat().st_size
        block.unlink()

    def adopt(self) -> int:
        """Take over the blocks of processes that died, and return their number."""
        return sum(
            self._adopt(folder)
            for folder in self._shared.iterdir()
            if folder != self._own and not folder.name.startswith(".")
        )

    def close(self) -> None:
        """Let the folder go; what waits is left to another process or the next."""
        self.seal()
        if not self.sealed():
            _remove_folder(self._own)
        os.close(self._lock)

    def _count(self) -> None:
        self.bytes = sum(block.stat().st_size for block in self.sealed())

    def _write(self, line: bytes) -> None:
        if self._file is None:
            # Its name is the time and a random part: the order, and the token.
            name = f"{time.time_ns():020d}-{uuid4().hex}{_OPEN}"
            self._path = self._own / name
            self._file = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600
            )
            _sync_folder(self._own)
        written = os.write(self._file, line)
        if written < len(line):
            raise OSError(0, "it is full")
        os.fdatasync(self._file)

    def _adopt(self, folder: Path) -> int:
        lock = _free_lock(folder)
        if lock is None:
            return 0
        try:
            blocks = [*folder.glob(f"*{_OPEN}"), *folder.glob(f"*{_SEALED}")]
            for block in blocks:
                self.bytes += block.stat().st_size
                block.rename(self._own / block.with_suffix(_SEALED).name)
            _remove_folder(folder)
        finally:
            os.close(lock)
        return len(blocks)


def token_of(block: Path) -> str:
    """Return the block's name for ClickHouse, the same however often it is tried."""
    return block.stem


def rows_of(block: Path) -> list[Row]:
    """Return the rows of a block, always the same ones."""
    lines = block.read_bytes().split(b"\n")
    whole = [line for line in lines if line and _is_whole(line)]
    if len(whole) < len(lines) - 1:
        log.error("Lines of the spooled block %s are damaged.", block.name)
    return [row for line in whole for row in orjson.loads(line[9:])]


def _line(rows: Sequence[Row]) -> bytes:
    content = orjson.dumps(rows, default=tuple)
    return b"%08x %b\n" % (crc32(content), content)


def _is_whole(line: bytes) -> bool:
    return line[:9] == b"%08x " % crc32(line[9:])


def _locked_folder(shared: Path) -> tuple[Path, int]:
    """Return a new folder and its lock; nobody sees the folder before it is locked."""
    name = uuid4().hex
    hidden = shared / f".{name}"
    hidden.mkdir(parents=True)
    lock = os.open(hidden / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    _sync_folder(hidden.rename(shared / name))
    _sync_folder(shared)
    return shared / name, lock


def _free_lock(folder: Path) -> int | None:
    """Return the lock of a folder whose process is gone; the caller closes it."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _remove_folder(folder: Path) -> None:
    (folder / _LOCK).unlink(missing_ok=True)
    # Another process, that waited for the same lock, may have been first.
    with suppress(FileNotFoundError):
        folder.rmdir()


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a power cut."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
