"""Storing messages durably: many at once, again after a fault, never silently less.

A publish goes out with a message id and a reply subject; the server's answer is the
proof of storage. What brings no proof is sent again with the same id, so that the
server keeps one of the copies.
"""

import json
import logging
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from brokers.connection import Connection
from brokers.delivery import may_be_interrupted
from brokers.errors import (
    ApiError,
    MessageTooLarge,
    NotStoredError,
    RefusedError,
    UnavailableError,
)
from brokers.link import Link
from brokers.topology import Topology
from brokers.wire import Incoming

#: JetStream's number for *the batch holds a duplicate*.
DUPLICATE_IN_BATCH = 10201
#: What passes with an election: no leader here, no quorum, an earlier copy of the
#: same id still on its way to the other servers, half a batch met a new leader.
PASSING = (10007, 10009, 10041, 10158, 10176)
#: So many messages may be on their way; the server refuses beyond 10,000.
WINDOW = 4000
#: How many messages the server takes as one.
LARGEST_PAGE = 1000
#: Room for the headers of a batch, of a delay and of a dead letter.
RESERVE_BYTES = 1024
#: No message has more headers than this; to measure them is dear.
LARGEST_HEAD_BYTES = 64 * 1024
#: No fresh message has more headers than this.
FRESH_HEAD_BYTES = 128
#: Without any answer for this long, what is unanswered is sent again.
SILENCE_S = 2.0
#: How long to look after a stream before its messages are sent again anyway.
LOOK_S = 1.0
#: The pause before messages are sent again, the first and the longest.
PAUSE_S = (0.02, 0.5)

_log = logging.getLogger(__name__)


class Outgoing(NamedTuple):
    """A message on its way into a stream.

    Attributes:
        stream: The stream that stores it.
        subject: Where it goes.
        body: Its bytes.
        headers: At least `Nats-Msg-Id`.
    """

    stream: str
    subject: str
    body: bytes
    headers: dict[str, str]

    @property
    def size_bytes(self) -> int:
        """Return what counts against the server's limit."""
        headers = sum(len(k) + len(v.encode()) + 4 for k, v in self.headers.items())
        return len(self.body) + headers + 12


class Unit:
    """Messages that are stored together or not at all; usually one."""

    __slots__ = ("answer", "messages")

    def __init__(self, messages: Sequence[Outgoing]) -> None:
        self.messages = messages
        self.answer: Incoming | None = None


class Publisher:
    """Stores messages; any number of threads at once."""

    def __init__(
        self, connection: Connection, topology: Topology, timeout_s: float
    ) -> None:
        self._connection = connection
        self._topology = topology
        self._timeout_s = timeout_s

    @property
    def max_payload_bytes(self) -> int:
        """Return how large the server lets a message be, its headers included."""
        return self._connection.link().max_payload_bytes

    def store(
        self,
        messages: Sequence[Outgoing],
        *,
        atomic: bool = False,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> int:
        """Return how many the server had not stored before, once all are stored.

        A message that had to be sent again may have been stored the first time, and
        is then not counted.

        Args:
            messages: Of any streams.
            atomic: All of a page of up to 1000 messages of one stream, or none.
            reserve_bytes: So much smaller than the server's limit each must be.

        Raises:
            MessageTooLarge: One exceeds the server's limit; none was sent.
            RefusedError: The server will never take some of them.
            NotStoredError: Some were not confirmed in time.
        """
        if not messages:
            return 0
        link = self._connected()
        _check_sizes(link, messages, reserve_bytes)
        self.prepare({one.stream for one in messages})
        waiting = _pages(messages) if atomic else [Unit([one]) for one in messages]
        return self._store(link, waiting)

    def check_size(self, body_bytes: int) -> None:
        """Make sure that a fresh message with so large a body can be stored.

        Raises:
            MessageTooLarge: It exceeds the server's limit.
            BrokerConnectionError: There is no server to tell the limit.
        """
        limit = self._connected().max_payload_bytes - RESERVE_BYTES
        _check_size(body_bytes + FRESH_HEAD_BYTES, limit)

    def prepare(self, streams: Iterable[str]) -> Link:
        """Return the link, once the server is there and has the streams.

        Raises:
            BrokerConnectionError: There is no server, or it makes no stream.
        """
        link = self._connected()
        for stream in streams:
            self._prepare(link, stream)
        return link

    def _connected(self) -> Link:
        link = self._connection.link()
        link.wait_until_connected(self._timeout_s)
        return link

    def _store(self, link: Link, waiting: list[Unit]) -> int:
        stored, pause_s = 0, PAUSE_S[0]
        deadline = time.monotonic() + self._timeout_s
        while True:
            _try(link, waiting)
            new, again, moved = _sort(waiting)
            stored += new
            if not again:
                return stored
            if moved:
                deadline, pause_s = time.monotonic() + self._timeout_s, PAUSE_S[0]
            if time.monotonic() > deadline:
                raise NotStoredError(f"{len(again)} messages are not confirmed.")
            time.sleep(pause_s)
            pause_s = min(PAUSE_S[1], pause_s * 2)
            self._recover(link, again)
            waiting = again

    def _prepare(self, link: Link, stream: str) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not self._topology.is_ready(stream):
            try:
                link.run(self._topology.ensure_stream(link, stream))
            except UnavailableError:
                # JetStream answers a little later than the server it runs in.
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_S[1])

    def _recover(self, link: Link, again: list[Unit]) -> None:
        """Bring back what the messages may lack: a server, or their stream."""
        try:
            link.wait_until_connected(PAUSE_S[1])
            gone = {
                unit.messages[0].stream
                for unit in again
                if unit.answer is not None and unit.answer.status == "503"
            }
            for stream in gone:
                link.run(self._topology.ensure_stream(link, stream), LOOK_S)
        except (UnavailableError, ApiError) as error:
            # Whether this is for good, the next round and the deadline tell.
            _log.warning("Messages wait for their stream: %s", error)


def _check_sizes(link: Link, messages: Sequence[Outgoing], reserve_bytes: int) -> None:
    limit = link.max_payload_bytes - reserve_bytes
    if max([len(one.body) for one in messages]) + LARGEST_HEAD_BYTES <= limit:
        return
    _check_size(max(one.size_bytes for one in messages), limit)


def _check_size(size_bytes: int, limit: int) -> None:
    if size_bytes > limit:
        raise MessageTooLarge(
            f"A message of {size_bytes} bytes is too large; at most {limit} can be "
            "sent."
        )


def fresh(
    stream: str, messages: Iterable[tuple[str, bytes]], prefix: str
) -> list[Outgoing]:
    """Return messages, each a subject and a body, with ids that nobody used before.

    Args:
        stream: The stream that stores them.
        messages: In order.
        prefix: Never used for other messages; their numbers, from 1, follow it.
    """
    return [
        Outgoing(stream, subject, body, {"Nats-Msg-Id": f"{prefix}{number}"})
        for number, (subject, body) in enumerate(messages, 1)
    ]


def _by_stream(messages: Sequence[Outgoing]) -> dict[str, Sequence[Outgoing]]:
    """Return the messages by their stream, in order."""
    found: defaultdict[str, list[Outgoing]] = defaultdict(list)
    for one in messages:
        found[one.stream].append(one)
    return dict(found)


def _pages(messages: Sequence[Outgoing]) -> list[Unit]:
    return [
        Unit(some[i : i + LARGEST_PAGE])
        for some in _by_stream(messages).values()
        for i in range(0, len(some), LARGEST_PAGE)
    ]


def _sort(units: list[Unit]) -> tuple[int, list[Unit], bool]:
    """Return how many messages are new, which to repeat, and if any got settled."""
    stored, again, moved = 0, [], False
    for unit in units:
        count = _stored(unit)
        if count is not None:
            stored, moved = stored + count, True
        elif len(unit.messages) > 1 and _is_duplicate(unit):
            # Some of them are there already. One by one the server tells which.
            again += [Unit([one]) for one in unit.messages]
            moved = True
        else:
            again.append(unit)
    return stored, again, moved


def _stored(unit: Unit) -> int | None:
    """Return how many messages of the unit are new; none where it is to be repeated."""
    if unit.answer is None or unit.answer.status:
        return None
    if b'"error"' not in unit.answer.data:
        duplicate = b'"duplicate"' in unit.answer.data
        return 0 if duplicate else len(unit.messages)
    error = json.loads(unit.answer.data)["error"]
    code = error.get("err_code")
    if code == DUPLICATE_IN_BATCH or code in PASSING or error["code"] in (429, 503):
        return None
    raise RefusedError(
        f"JetStream refused a message: {error}", error.get("err_code", 0)
    )


def _is_duplicate(unit: Unit) -> bool:
    return unit.answer is not None and b"10201" in unit.answer.data


def _try(link: Link, units: list[Unit]) -> None:
    """Send all units, and note what is answered."""
    if len(units) == len(units[0].messages) == 1 and not may_be_interrupted():
        one = units[0].messages[0]
        units[0].answer = link.exchange(one.subject, one.body, one.headers, SILENCE_S)
    else:
        _Round(link, units).go()


class _Round:
    """One attempt at a number of units, on the loop; the caller's thread waits."""

    def __init__(self, link: Link, units: list[Unit]) -> None:
        self._link = link
        self._units = units
        self._next = 0
        self._flying = 0
        self._unanswered = len(units)
        self._heard_at = time.monotonic()
        self._over = threading.Lock()
        self._over.acquire()

    def go(self) -> None:
        """Return when all is answered, or when answers stopped coming."""
        for unit in self._units:
            unit.answer = None
        self._link.call(self._begin)
        try:
            while not self._over.acquire(timeout=SILENCE_S):
                if time.monotonic() - self._heard_at > SILENCE_S:
                    return
        finally:
            # Answered rounds have ended by themselves; another call would wake the
            # loop once more for every message.
            if self._unanswered:
                self._link.call(self._finish)

    def on_connected(self) -> None:
        """Nothing to do: the round was given up when the connection broke."""

    def on_disconnected(self) -> None:
        """Give up: the answers went to the old connection."""
        self._finish()

    def on_tick(self) -> None:
        """Nothing to do: the waiting thread looks at the time."""

    def _begin(self) -> None:
        self._reply = self._link.on_replies(self._take)
        self._link.watch(self)
        if self._link.is_online:
            self._send()
        else:
            self._finish()

    def _send(self) -> None:
        while self._flying < WINDOW and self._next < len(self._units):
            unit = self._units[self._next]
            reply = f"{self._reply}.{self._next}"
            self._next += 1
            self._flying += len(unit.messages)
            if len(unit.messages) == 1:
                one = unit.messages[0]
                self._link.send(one.subject, one.body, reply, one.headers)
            else:
                self._send_page(unit.messages, reply)

    def _send_page(self, messages: Sequence[Outgoing], reply: str) -> None:
        batch, last = secrets.token_hex(12), len(messages)
        for number, one in enumerate(messages, 1):
            headers = one.headers | {
                "Nats-Batch-Id": batch,
                "Nats-Batch-Sequence": str(number),
            }
            if number == last:
                headers["Nats-Batch-Commit"] = "1"
            self._link.send(
                one.subject, one.body, reply if number == last else "", headers
            )

    def _take(self, index: str, message: Incoming) -> None:
        unit = self._units[int(index)]
        self._heard_at = time.monotonic()
        if unit.answer is not None:
            return
        unit.answer = message
        self._flying -= len(unit.messages)
        self._unanswered -= 1
        if not self._unanswered:
            self._finish()
        elif self._flying <= WINDOW // 2:
            self._send()

    def _finish(self) -> None:
        self._link.forget(self._reply)
        self._link.unwatch(self)
        if self._over.locked():
            self._over.release()
