"""Frames and reads of NATS' protocol, without a server."""

import asyncio
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.wire import Incoming, WireClient, frame

HEAD = b"NATS/1.0\r\nNats-Msg-Id: a:b\r\n\r\n"
STATUS = b"NATS/1.0 409 Consumer Deleted\r\nNats-Pending-Messages: 7\r\n\r\n"
WIRE = b"".join(
    [
        b"PING\r\n",
        b"MSG _I.1 7 5\r\nhe\r\no\r\n",
        b"MSG _I.2 7 $JS.ACK.s.c 0\r\n\r\n",
        b"+OK\r\n",
        b"HMSG _I.3 7 $JS.ACK %d %d\r\n%bbody\r\n" % (len(HEAD), len(HEAD) + 4, HEAD),
        b"HMSG _I.4 7 %d %d\r\n%b\r\n" % (len(STATUS), len(STATUS), STATUS),
        b"PONG\r\n",
        b"MSG _I.5 7 4000\r\n%b\r\n" % (b"x" * 4000),
    ]
)


class Words(WireClient):
    """A client that notes what it is told, and has no connection."""

    def __init__(self):
        super().__init__()
        self.words = []
        self.reads = 0
        self.when_read(self._count)
        self._handlers[b"7"] = self._note

    async def _process_ping(self):
        self.words.append("PING")

    async def _process_pong(self):
        self.words.append("PONG")

    def _note(self, message):
        self.words.append((message.subject, message.reply, message.data))

    def _count(self):
        self.reads += 1


def read(client, *pieces):
    async def run():
        for piece in pieces:
            await client._ps.parse(piece)

    asyncio.run(run())


@given(cuts=st.lists(st.integers(0, len(WIRE)), max_size=8).map(sorted))
def test_messages_do_not_depend_on_how_they_are_cut(cuts):
    """A read may end anywhere; the order of all words is kept."""
    client = Words()

    ends = [*cuts, len(WIRE)]
    read(client, *(WIRE[a:b] for a, b in zip([0, *cuts], ends, strict=True)))

    assert client.words == [
        "PING",
        ("_I.1", "", b"he\r\no"),
        ("_I.2", "$JS.ACK.s.c", b""),
        ("_I.3", "$JS.ACK", b"body"),
        ("_I.4", "", b""),
        "PONG",
        ("_I.5", "", b"x" * 4000),
    ]


def test_many_messages_of_one_read_end_one_turn():
    client = Words()

    read(client, b"MSG _I.1 7 1\r\na\r\n" * 50)

    assert len(client.words) == 50
    assert client.reads == 1


def test_half_a_message_of_a_broken_connection_is_forgotten():
    client = Words()

    read(client, b"MSG _I.1 7 5\r\nhe")
    client._ps.reset()
    read(client, b"MSG _I.2 7 1\r\nb\r\n")

    assert client.words == [("_I.2", "", b"b")]


@pytest.mark.parametrize(
    ("head", "status", "headers"),
    [
        (b"", "", {}),
        (HEAD, "", {"Nats-Msg-Id": "a:b"}),
        (
            STATUS,
            "409",
            {"Nats-Pending-Messages": "7", "Description": "Consumer Deleted"},
        ),
        (b"NATS/1.0 503\r\n\r\n", "503", {}),
    ],
)
def test_a_head_is_read(head, status, headers):
    message = Incoming(b"s", b"", head, b"")

    assert (message.status, message.headers) == (status, headers)


def test_a_frame_counts_bytes_not_letters():
    assert frame("s", "ü".encode()) == "PUB s  2\r\nü\r\n".encode()
    assert frame("s", b"ab", "r", {"N": "ü"}) == (
        "HPUB s r 19 21\r\nNATS/1.0\r\nN: ü\r\n\r\nab\r\n".encode()
    )


def test_a_header_cannot_smuggle_another():
    with pytest.raises(ValueError, match="line break"):
        frame("s", b"", headers={"N": "a\r\nNats-Rollup: all"})


class Socket:
    """A transport of asyncio's, as far as frames are concerned."""

    def __init__(self):
        self.waiting = 0
        self.written = b""

    def get_write_buffer_size(self):
        return self.waiting

    def write(self, data):
        self.written += data


@pytest.fixture
def direct():
    """A client that other threads may write with, and the socket's other end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    client = WireClient()
    client._transport = client._direct_transport = Socket()
    client._direct = os.dup(ours.fileno())
    yield client, theirs
    client.close_direct()
    ours.close()
    theirs.close()


def test_a_thread_writes_past_the_loop(direct):
    client, server = direct

    assert client.write_now(b"PUB s  0\r\n\r\n")

    assert server.recv(100) == b"PUB s  0\r\n\r\n"
    assert not client.is_torn


def test_nobody_overtakes_what_waits(direct):
    client, _ = direct
    client._transport.waiting = 1

    assert not client.write_now(b"PUB s  0\r\n\r\n")


def test_a_torn_frame_is_ended_before_the_next(direct):
    """The socket may take a part of it."""
    client, server = direct
    large = b"x" * 4_000_000

    assert client.write_now(large)
    assert client.is_torn
    assert not client.write_now(b"next")
    client.write(b"next")

    taken = len(large) + len(b"next") - len(client._transport.written)
    assert client._transport.written == (large + b"next")[taken:]
    assert server.recv(taken, socket.MSG_WAITALL) == large[:taken]


def test_after_a_break_nothing_is_written_past_the_loop(direct):
    client, _ = direct

    client.close_direct()

    assert not client.write_now(b"PUB s  0\r\n\r\n")
