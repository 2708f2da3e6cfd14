"""A connection on which the thread that asks reads its answer itself.

An answer that the event loop takes in has woken two threads before it is where it was
waited for, which is most of what a message stored by itself costs. So a process that
stores many one by one gets a second connection, which nats-py opens and logs in and
then leaves to us. It is only ever a shortcut: while it is taken, broken, not there yet
or not worth it, the process's own connection does the same. See ADR 0039.
"""

import itertools
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import nats.errors

from brokers.servers import ServerOptions
from brokers.wire import Incoming, WireClient, frame, incoming

#: It is worth it for so many messages in a second, and until none came for so long.
WORTH_PER_S = 50
IDLE_S = 30
#: So long after it failed it is tried again.
AGAIN_S = 30
_READ_BYTES = 65536
_END = b"\r\n"

_log = logging.getLogger(__name__)


class Shortcut:
    """Opens a line when it is worth it, and closes it when it is not.

    Args:
        options: How to reach the servers and log in.
        spawn: Runs a coroutine on the loop; called on any thread.
    """

    def __init__(
        self,
        options: ServerOptions,
        spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], None],
    ) -> None:
        self._options = options
        self._spawn = spawn
        self._line: Line | None = None
        self._taken = threading.Lock()
        self._asked = 0
        self._idle_s = 0
        self._pause_s = 0
        self._opening = False
        self._is_possible = True

    @property
    def is_open(self) -> bool:
        """Tell whether there is a line."""
        return self._line is not None

    def exchange(
        self, subject: str, body: bytes, headers: dict[str, str], timeout_s: float
    ) -> tuple[bool, Incoming | None]:
        """Tell whether the message was sent this way, and its answer if one came.

        Not for threads that an interrupt of Dramatiq's can meet.
        """
        self._asked += 1
        if self._line is None:
            self._open_if_worth()
            return False, None
        if not self._taken.acquire(blocking=False):
            return False, None
        try:
            line = self._line
            if line is None:
                return False, None
            return True, line.exchange(subject, body, headers, timeout_s)
        except BaseException as error:
            # Half a message may be written, or an answer be on its way to nobody.
            self._drop()
            if not isinstance(error, OSError):
                raise
            return True, None
        finally:
            self._taken.release()

    def on_tick(self) -> None:
        """Answer the server, and close what nobody uses; called about once a second."""
        self._idle_s = 0 if self._asked else self._idle_s + 1
        self._asked = 0
        self._pause_s = max(0, self._pause_s - 1)
        if self._line is None or not self._taken.acquire(blocking=False):
            return
        try:
            if self._line is not None:
                self._line.look()
            if self._idle_s > IDLE_S:
                self._drop()
        except OSError:
            self._drop()
        finally:
            self._taken.release()

    def close(self) -> None:
        """Close the line and open none any more; a thread that waits is told so."""
        self._is_possible = False
        line = self._line
        if self._taken.acquire(blocking=False):
            self._drop()
            self._taken.release()
        elif line is not None:
            # Whoever has it closes it then.
            line.shut()

    def _drop(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _open_if_worth(self) -> None:
        may = self._is_possible and not (self._opening or self._pause_s)
        if may and self._asked >= WORTH_PER_S:
            self._opening = True
            self._spawn(self._open)

    async def _open(self) -> None:
        # Also where it is opened: should it break at once, this is not repeated.
        self._pause_s = AGAIN_S
        try:
            line = await _opened(self._options)
        except (nats.errors.Error, OSError) as error:
            _log.info(
                "Messages are stored without a connection of their own: %r", error
            )
        else:
            self._take(line)
        finally:
            self._opening = False

    def _take(self, line: "Line | None") -> None:
        if line is None:
            self._is_possible = False
        elif self._is_possible:
            self._line = line
        else:
            # This was closed meanwhile.
            line.close()


async def _opened(options: ServerOptions) -> "Line | None":
    """Return a line to a server; none where it cannot be had without nats-py."""
    client = WireClient()
    wanted = options.for_client() | {"allow_reconnect": False}
    await client.connect(**wanted, error_cb=_unheard)
    left = await client.leave()
    return None if left is None else Line(left)


async def _unheard(_: Exception) -> None:
    """Errors of this connection are raised where it is opened or used."""


class Line:
    """A socket, logged in to a NATS server; used by one thread at a time.

    Args:
        connected: The socket; nothing was read of what it holds.

    All its methods raise OSError where the connection is broken.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._rest = b""
        self._numbers = itertools.count(1)
        self._inbox = f"_INBOX.{secrets.token_hex(11)}."
        connected.setblocking(True)
        connected.sendall(b"SUB %b* 1\r\n" % self._inbox.encode())

    def exchange(
        self, subject: str, body: bytes, headers: dict[str, str], timeout_s: float
    ) -> Incoming:
        """Return the answer to a message."""
        reply = f"{self._inbox}{next(self._numbers)}"
        frames = frame(subject, body, reply, headers)
        # To set it is a call of the system's.
        if self._socket.gettimeout() != timeout_s:
            self._socket.settimeout(timeout_s)
        self._socket.sendall(frames)
        while True:
            message = self._message()
            if message is None:
                self._read()
            elif message.subject == reply:
                return message

    def look(self) -> None:
        """Take in what the server said unasked, without waiting for more."""
        self._socket.settimeout(0)
        try:
            self._read()
        except BlockingIOError:
            return
        while self._message() is not None:
            pass

    def shut(self) -> None:
        """End the connection, so that a thread that waits on it stops waiting."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The server was faster.
            _log.debug("A line was closed already.")

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def _read(self) -> None:
        data = self._socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionResetError("The NATS server closed the connection.")
        self._rest += data

    def _message(self) -> Incoming | None:
        """Return the first whole message of what was read; none where there is none."""
        while (end := self._rest.find(_END)) >= 0:
            line, begin = self._rest[:end], end + 2
            if line[:1] in b"MHmh":
                words = line.split()
                after = begin + int(words[-1])
                if len(self._rest) < after + 2:
                    return None
                message = incoming(words, self._rest, begin, after)
                self._rest = self._rest[after + 2 :]
                return message
            self._rest = self._rest[begin:]
            self._hear(line)
        return None

    def _hear(self, line: bytes) -> None:
        if line.upper() == b"PING":
            self._socket.sendall(b"PONG\r\n")
        elif line.startswith(b"-ERR"):
            raise ConnectionAbortedError(line.decode(errors="replace"))
