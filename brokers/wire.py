"""NATS' wire protocol where it is hot: many frames a write, many messages a read.

nats-py connects, logs in, keeps alive, comes back and finds the cluster's servers. It
handles one message at a time, though, with a queue and a task for each subscription,
which is most of a small job's cost. So its client is extended in the two places where
every message passes: what is read, and what is written. See ADR 0021.
"""

import os
import socket
from collections.abc import Callable
from typing import Any

from nats.protocol.parser import Parser

from brokers.client import Client

_END = b"\r\n"
_BARE_HEAD = len(b"NATS/1.0")


class Incoming:
    """A message that came.

    Attributes:
        subject: Where it was sent.
        reply: Where an answer goes; `""` where none is wanted.
        data: Its body.
    """

    __slots__ = ("_head", "data", "reply", "subject")

    def __init__(self, subject: bytes, reply: bytes, head: bytes, data: bytes) -> None:
        self.subject = subject.decode()
        self.reply = reply.decode()
        self.data = data
        self._head = head

    @property
    def status(self) -> str:
        """Return the server's status, such as `404`; `""` for an ordinary message."""
        first = self._head.partition(_END)[0]
        return first[_BARE_HEAD + 1 : _BARE_HEAD + 4].decode()

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers; the status' text is `Description`."""
        first, *lines = self._head.decode().split("\r\n")
        found = dict(line.split(":", 1) for line in lines if ":" in line)
        headers = {name.strip(): value.strip() for name, value in found.items()}
        if text := first[_BARE_HEAD + 5 :].strip():
            headers["Description"] = text
        return headers


Handler = Callable[[Incoming], None]


def frame(
    subject: str, payload: bytes, reply: str = "", headers: dict[str, str] | None = None
) -> bytes:
    """Return the bytes that publish a message.

    Raises:
        ValueError: A header has a line break in it.
    """
    if not headers:
        return b"PUB %b %b %d\r\n%b\r\n" % (
            subject.encode(),
            reply.encode(),
            len(payload),
            payload,
        )
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    head = f"NATS/1.0\r\n{lines}\r\n".encode()
    if head.count(b"\n") != len(headers) + 2:
        raise ValueError(f"A header to {subject} has a line break.")
    return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
        subject.encode(),
        reply.encode(),
        len(head),
        len(head) + len(payload),
        head,
        payload,
    )


class WireClient(Client):
    """nats-py's client that hands over messages and takes frames in bulk."""

    def __init__(self) -> None:
        super().__init__()
        self._handlers: dict[bytes, Handler] = {}
        self._parser = _Parser(self, self._handlers)
        self._ps = self._parser
        self._direct: int | None = None
        self._direct_transport: Any = None
        # Of a frame that the socket took a part of, what is left.
        self._torn = b""

    def when_read(self, callback: Callable[[], None]) -> None:
        """Call back when all messages of a read have been handled."""
        self._parser.when_read = callback

    async def listen(self, subject: str, handler: Handler) -> Any:
        """Subscribe; the handler is called by the read, without a task between.

        Returns nats-py's subscription, to be drained or unsubscribed.
        """
        subscription = await self.subscribe(subject, cb=_unused)
        self._handlers[b"%d" % subscription._id] = handler  # noqa: SLF001 - nats-py has no other way to it
        return subscription

    def write(self, data: bytes) -> None:
        """Hand frames to the socket at once, after all that was published before.

        What is written while the connection breaks is lost, as with any socket.
        """
        if self._transport is None:
            return
        if self._torn:
            data, self._torn = self._torn + data, b""
        if self._pending:
            self._transport.writelines(self._pending)
            self._pending = []
            self._pending_data_size = 0
        self._transport.write(data)

    def open_direct(self) -> None:
        """Let other threads write, where the connection is plain TCP."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is None or writer.get_extra_info("ssl_object") is not None:
            return
        self._direct_transport = writer.transport
        # One of our own: the number of a closed one may soon be another file's.
        self._direct = os.dup(writer.get_extra_info("socket").fileno())

    def close_direct(self) -> None:
        """Let no other thread write; a second time does nothing."""
        self._torn = b""
        descriptor, self._direct = self._direct, None
        if descriptor is not None:
            os.close(descriptor)

    def write_now(self, data: bytes) -> bool:
        """Write past the event loop, from any thread; tell whether that was possible.

        It is so when nothing waits to be written.
        """
        if self._direct is None or self._pending or self._torn:
            return False
        try:
            if self._direct_transport.get_write_buffer_size():
                return False
            written = os.write(self._direct, data)
        except (OSError, RuntimeError):
            # Full, about to be given up, or just written to: the loop will find out.
            return False
        self._torn = data[written:]
        return True

    async def leave(self) -> socket.socket | None:
        """Return the connection, logged in, and have nothing to do with it any more.

        There is none where it is not plain TCP; this client is closed anyway.
        """
        try:
            await self.flush()
            return self._taken_over()
        finally:
            await self.close()

    def _taken_over(self) -> socket.socket | None:
        writer = getattr(self._transport, "_io_writer", None)
        if writer is None or writer.get_extra_info("ssl_object") is not None:
            return None
        writer.transport.pause_reading()
        # What is closed with this client is its own descriptor of it only.
        return socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno()))

    @property
    def is_torn(self) -> bool:
        """Tell whether the rest of a frame waits for the loop."""
        return bool(self._torn)

    async def drained(self) -> None:
        """Return once the socket has taken most of what was written."""
        if self._transport is not None:
            await self._transport.drain()  # type: ignore[no-untyped-call]  # untyped there


async def _unused(_: Any) -> None:
    """Messages of this subscription never get so far."""


def _nothing() -> None:
    """Do nothing after a read."""


class _Parser(Parser):
    """Takes messages to known handlers; leaves every other word to nats-py."""

    def __init__(self, client: Client, handlers: dict[bytes, Handler]) -> None:
        super().__init__(client)
        self._handlers = handlers
        self.when_read: Callable[[], None] = _nothing
        self._rest = bytearray()
        self._wanted = 0

    def reset(self) -> None:
        """Forget half a message: its connection is gone."""
        super().reset()
        self._rest, self._wanted = bytearray(), 0

    async def parse(self, data: bytes = b"") -> None:
        """Handle all that is whole; keep the rest for the next read."""
        if self._rest or len(data) < self._wanted:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
        at = 0
        while (end := data.find(_END, at)) >= 0:
            if data[at] not in b"MHmh":
                # Rare words: PING, PONG, INFO, +OK, -ERR.
                await super().parse(data[at : end + 2])
                at = end + 2
                continue
            words = data[at:end].split()
            after = end + 2 + int(words[-1]) + 2
            if after > len(data):
                self._wanted = after - at
                break
            handler = self._handlers.get(words[2])
            if handler is None:
                await super().parse(data[at:after])
            else:
                handler(incoming(words, data, end + 2, after - 2))
            at = after
        else:
            self._wanted = 0
        self._rest = bytearray(data[at:])
        self.when_read()


def incoming(words: list[bytes], data: bytes, begin: int, end: int) -> Incoming:
    """Return a message whose words and bytes are known.

    Args:
        words: `MSG <subject> <sid> [reply] <size>`, or `HMSG` with its head's size
            before that.
        data: What holds it.
        begin: Where its head begins, or its body where it has no head.
        end: Where its body ends.
    """
    has_head = words[0][0] in b"Hh"
    middle = begin + int(words[-2]) if has_head else begin
    reply = words[3] if len(words) == (6 if has_head else 5) else b""
    return Incoming(words[1], reply, data[begin:middle], data[middle:end])
