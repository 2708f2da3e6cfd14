"""Many messages into one stream at once: the server answers for hundreds together.

This is JetStream's fast ingest (NATS ADR-50). It carries what it needs in the reply
subject: `<inbox>.<batch>.<flow>.<gap>.<number>.<operation>.$FI`. The messages keep ids
of their own, so that whatever goes wrong, all of them can be stored again, one by one,
and are there once.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence

from brokers.link import Link
from brokers.publishing import Outgoing, fresh
from brokers.wire import Incoming

#: A subject and a body.
Addressed = tuple[str, bytes]

#: So many messages are written at a time, so that the server begins early.
PART = 250
#: After how many messages the server answers; it may choose to answer sooner.
FLOW = 500
#: So many answers may be outstanding.
UNANSWERED = 2
#: Without any answer for this long it has failed.
SILENCE_S = 5.0

_BEGIN, _ADD, _END = 0, 1, 3
#: Of a head that holds nothing but an id, without the id.
_HEAD_BYTES = len("NATS/1.0\r\nNats-Msg-Id:\r\n\r\n")


class Ingest:
    """One fast ingest, used by one thread, which composes while the server stores.

    Args:
        link: The connection.
        stream: Where to; it exists.

    Attributes:
        kept: What was added, in order.
        size_bytes: Of all bodies added.
    """

    def __init__(self, link: Link, stream: str) -> None:
        self.kept: list[Addressed] = []
        self.size_bytes = 0
        self._link = link
        self._stream = stream
        self._batch = secrets.token_urlsafe(9)
        self._sent = 0
        self._acked = 0
        self._flow = 0
        self._answer: bytes | None = None
        self._is_over = False
        self._by_loop = False
        self._heard = threading.Event()
        self._reply = self._prefix = ""
        link.run(self._open())

    def add(self, some: Sequence[Addressed]) -> None:
        """Send messages as the server takes them; after a failure only keep them."""
        self.kept += some
        self.size_bytes += sum([len(body) for _, body in some])
        if not self._sent:
            self._send(1)
        last = len(self.kept)
        while self._sent < last and self._wait(lambda: self._room > 0):
            self._send(min(self._room, PART, last - self._sent))

    def commit(self) -> bool:
        """Tell whether the server confirmed all; some may be stored where it did not.

        Nothing can be added after this.
        """
        try:
            if self._sent < len(self.kept) or self._is_over:
                return False
            number, subject = self._sent + 1, self.kept[-1][0]
            reply = f"{self._prefix}{number}.{_END}.$FI"
            self._write(f"PUB {subject} {reply} 0\r\n\r\n".encode())
            return self._wait(lambda: self._answer is not None) and self._is_confirmed()
        finally:
            self.give_up()

    def give_up(self) -> None:
        """Listen no more; a second time does nothing."""
        self._is_over = True
        self._link.call(self._close)

    def outgoing(self) -> list[Outgoing]:
        """Return what was added, with the ids that the server may know by now."""
        return fresh(self._stream, self.kept, self._batch)

    def on_connected(self) -> None:
        """Nothing to do: it was given up when the connection broke."""

    def on_disconnected(self) -> None:
        """Give up: the answers went to the old connection."""
        self._is_over = True
        self._heard.set()

    def on_tick(self) -> None:
        """Nothing to do: the waiting thread looks at the time."""

    async def _open(self) -> None:
        self._reply = self._link.on_replies(self._take)
        self._link.watch(self)
        self._prefix = f"{self._reply}.{secrets.token_hex(8)}.{FLOW}.fail."

    def _close(self) -> None:
        self._link.forget(self._reply)
        self._link.unwatch(self)

    @property
    def _room(self) -> int:
        # None before the first answer, which tells how often the server will answer.
        return self._acked + self._flow * UNANSWERED - self._sent

    def _send(self, count: int) -> None:
        first, prefix, batch = self._sent, self._prefix, self._batch
        operation = _ADD if first else _BEGIN
        frames: list[bytes] = []
        for number, (subject, body) in enumerate(
            self.kept[first : first + count], first + 1
        ):
            unique = f"{batch}{number}"
            # Ids are ours and ASCII, so lengths need no counting of bytes.
            head = _HEAD_BYTES + len(unique)
            frames += (
                f"HPUB {subject} {prefix}{number}.{operation}.$FI "
                f"{head} {head + len(body)}\r\n"
                f"NATS/1.0\r\nNats-Msg-Id:{unique}\r\n\r\n".encode(),
                body,
                b"\r\n",
            )
        self._sent = first + count
        self._write(b"".join(frames))

    def _write(self, frames: bytes) -> None:
        # Once the loop has a part to write, the next must not overtake it.
        if self._by_loop or not self._link.write_now(frames):
            self._by_loop = True
            self._link.call(self._link.send_frames, frames)

    def _wait(self, condition: Callable[[], bool]) -> bool:
        """Wait until the condition holds; false where it never will."""
        if condition():
            return True
        deadline = time.monotonic() + SILENCE_S
        while not condition():
            self._is_over = self._is_over or time.monotonic() > deadline
            if self._is_over:
                return False
            self._heard.wait(0.5)
            self._heard.clear()
        return True

    def _take(self, _: str, message: Incoming) -> None:
        if b'"type":"ack"' in message.data:
            told = json.loads(message.data)
            self._acked = max(self._acked, told["seq"])
            self._flow = told["msgs"]
        else:
            # The first of the final answers counts: later ones follow from it.
            self._answer = self._answer or message.data or b"{}"
            self._is_over = self._is_over or b'"batch"' not in message.data
        self._heard.set()

    def _is_confirmed(self) -> bool:
        told = json.loads(self._answer or b"{}")
        return "error" not in told and told.get("count") == len(self.kept)
