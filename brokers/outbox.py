"""What waits to be written to the server, gathered over one turn of the loop.

A turn is all that came with one read, or all that threads handed over at once. At its
end each callback is called once, however many messages asked for it, and everything is
written in one piece. All of it lives on the loop's thread, but for `write_now`.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import nats.errors

if TYPE_CHECKING:
    from brokers.wire import WireClient

#: So much is written at once, before the socket is asked whether it takes more.
WRITE_BYTES = 1024 * 1024
#: How long to wait for what waits, when all of it is to be written.
FLUSH_S = 2.0

_log = logging.getLogger(__name__)


class Outbox:
    """Frames in their order, from any connection to the next.

    Attributes:
        client: Writes; none before the first connection.

    Args:
        loop: Whose turns count.
        online: Set while the client is connected.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, online: asyncio.Event) -> None:
        self.client: WireClient | None = None
        self._loop = loop
        self._online = online
        self._frames: deque[bytes] = deque()
        self._ends: dict[Callable[[], None], None] = {}
        self._is_ending = False
        # Whoever writes from another thread must not cut a frame of the loop's in two.
        self._writing = threading.Lock()
        self._writable = asyncio.Event()
        self._written = asyncio.Event()

    def add(self, frames: bytes) -> None:
        """Write these at the end of this turn, or when the server is there."""
        self._frames.append(frames)
        self.end_soon()

    def at_end(self, callback: Callable[[], None]) -> None:
        """Call back at the end of this turn, once."""
        self._ends[callback] = None
        self.end_soon()

    def write_now(self, frames: bytes) -> bool:
        """Write from any thread, if the socket takes it at once; else do nothing.

        A thread that waits for an answer so spares itself the wake-up of the loop.
        An interrupt in the midst of it might tear a frame, after which the server
        would end the connection: not for threads that may be interrupted.
        """
        client = self.client
        if client is None or self._frames or not self._online.is_set():
            return False
        with self._writing:
            is_written = client.write_now(frames)
        if is_written and client.is_torn:
            self._loop.call_soon_threadsafe(self.add, b"")
        return is_written

    def connected(self, client: "WireClient") -> None:
        """Write with this client from now on; to be told at each connection."""
        with self._writing:
            client.close_direct()
            client.open_direct()
        self.client = client
        self.end_soon()

    def disconnected(self) -> None:
        """Let nobody write before the next connection."""
        if self.client is not None:
            with self._writing:
                self.client.close_direct()

    def end_soon(self) -> None:
        """End the turn after what the loop does now, unless it ends before."""
        if not self._is_ending:
            self._is_ending = True
            self._loop.call_soon(self.end)

    def end(self) -> None:
        """Do once what many messages or calls have asked for; then write it all."""
        self._is_ending = False
        ends = self._ends
        # The first one first: what came with a read is handed over before we ask on.
        while ends:
            callback = next(iter(ends))
            del ends[callback]
            callback()
        if self._frames and self._online.is_set():
            self._write_some()

    def _write_some(self) -> None:
        frames, some, size = self._frames, [], 0
        while frames and size < WRITE_BYTES:
            some.append(frames.popleft())
            size += len(some[-1])
        if self.client is not None:
            with self._writing:
                self.client.write(b"".join(some))
        if frames:
            self._writable.set()
        else:
            self._written.set()

    async def write_on(self) -> None:
        """Write the rest when there was too much at once; runs for ever."""
        while True:
            await self._writable.wait()
            await self._online.wait()
            self._writable.clear()
            try:
                if self.client is not None:
                    await self.client.drained()
            except (nats.errors.Error, OSError):
                _log.warning("The connection to NATS broke while it was written to.")
            self.end()

    async def flush(self) -> None:
        """Return once the server has read all that waited to be written.

        Raises:
            TimeoutError: It took longer than `FLUSH_S`.
            nats.errors.Error: The connection broke.
        """
        if self._frames:
            self._written.clear()
            async with asyncio.timeout(FLUSH_S):
                await self._written.wait()
        if self._online.is_set() and self.client is not None:
            await self.client.flush(timeout=int(FLUSH_S))
