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
from brokers.publishing import Outgoing, Publisher, by_stream
from brokers.wire import Incoming

#: Fewer messages than this are not worth it.
FEWEST = 200
#: So many messages are handed to the connection at a time.
PART = 250
#: After how many messages the server answers; it may choose to answer sooner.
FLOW = 500
#: So many answers may be outstanding.
UNANSWERED = 2
#: Without any answer for this long it has failed.
SILENCE_S = 5.0

_BEGIN, _ADD, _COMMIT = 0, 1, 2
#: Of a head that holds nothing but an id, without the id.
_HEAD_BYTES = len("NATS/1.0\r\nNats-Msg-Id: \r\n\r\n")


def store_fresh(publisher: Publisher, messages: Sequence[Outgoing]) -> None:
    """Store messages whose ids nobody ever used, in few round trips.

    They have no headers besides.

    Raises:
        MessageTooLarge: One exceeds the server's limit; none was sent.
        RefusedError: The server will never take some of them.
        NotStoredError: Some were not confirmed in time.
    """
    if len(messages) < FEWEST:
        publisher.store(messages)
        return
    link = publisher.prepare(messages)
    for some in by_stream(messages).values():
        if len(some) < FEWEST or not Ingest(link, some).store():
            publisher.store(some)


class Ingest:
    """One fast ingest; the calling thread composes, the loop's thread writes.

    Args:
        link: The connection.
        messages: Two or more, all of one stream, with no header but an ASCII id.
    """

    def __init__(self, link: Link, messages: Sequence[Outgoing]) -> None:
        self._link = link
        self._messages = messages
        self._sent = 0
        self._acked = 0
        self._flow = 1
        self._answer: bytes | None = None
        self._is_over = False
        self._heard = threading.Event()
        self._reply = self._prefix = ""

    def store(self) -> bool:
        """Tell whether the server confirmed all; some may be stored where it did not.

        The messages' order is kept.
        """
        self._link.run(self._open())
        try:
            return self._send_all() and self._is_confirmed()
        finally:
            self._link.call(self._close)

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

    def _send_all(self) -> bool:
        last = len(self._messages)
        self._send(1)
        # The first answer tells how often the server will answer.
        if not self._wait(lambda: self._acked > 0 or self._flow > 1):
            return False
        while self._sent < last:
            room = self._acked + self._flow * UNANSWERED - self._sent
            if room > 0:
                self._send(min(room, PART, last - self._sent))
            elif not self._wait(
                lambda: self._acked + self._flow * UNANSWERED > self._sent
            ):
                return False
        return self._wait(lambda: self._answer is not None)

    def _send(self, count: int) -> None:
        first, last, prefix = self._sent, len(self._messages), self._prefix
        frames: list[bytes] = []
        for number, one in enumerate(self._messages[first : first + count], first + 1):
            operation = _COMMIT if number == last else _ADD if number > 1 else _BEGIN
            reply = f"{prefix}{number}.{operation}.$FI"
            body, unique = one.body, one.headers["Nats-Msg-Id"]
            # Ids are ours and ASCII, so lengths need no counting of bytes.
            head = _HEAD_BYTES + len(unique)
            frames += (
                f"HPUB {one.subject} {reply} {head} {head + len(body)}\r\n"
                f"NATS/1.0\r\nNats-Msg-Id: {unique}\r\n\r\n".encode(),
                body,
                b"\r\n",
            )
        self._sent = first + count
        self._link.call(self._link.send_frames, b"".join(frames))

    def _wait(self, condition: Callable[[], bool]) -> bool:
        """Wait until the condition holds; false where it never will."""
        deadline = time.monotonic() + SILENCE_S
        while not condition():
            if self._is_over or time.monotonic() > deadline:
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
        return "error" not in told and told.get("count") == len(self._messages)
