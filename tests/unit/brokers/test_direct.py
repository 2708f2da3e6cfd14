"""A line to a server, played by the other end of a pair of sockets."""

import socket
import threading

import pytest

from brokers.direct import Line


class Played:
    """The server's end: reads requests, and answers with what it is told."""

    def __init__(self):
        ours, self._theirs = socket.socketpair()
        self.line = Line(ours)
        self._theirs.settimeout(10)
        self.inbox = self.heard().split()[1].rstrip(b"*")

    def heard(self):
        return self._theirs.recv(4096)

    def says(self, *pieces):
        for piece in pieces:
            self._theirs.sendall(piece)

    def close(self):
        self.line.close()
        self._theirs.close()


@pytest.fixture
def played():
    server = Played()
    yield server
    server.close()


def answer(server, number, body):
    return b"MSG %b%d 1 %d\r\n%b\r\n" % (server.inbox, number, len(body), body)


def asked(server, timeout_s=10.0):
    return server.line.exchange("s", b"{}", {"Nats-Msg-Id": "a"}, timeout_s)


def test_an_answer_is_found_wherever_it_was_cut(played):
    """Reads end where they like, and other words come between."""
    whole = b"PING\r\nINFO {}\r\n" + answer(played, 1, b"a\r\nb")

    played.says(whole[:20])
    # One byte at a time, while the asking thread reads.
    rest = threading.Thread(
        target=played.says, args=[whole[n : n + 1] for n in range(20, len(whole))]
    )
    rest.start()

    assert asked(played).data == b"a\r\nb"
    rest.join()
    assert b"PONG\r\n" in played.heard()


def test_the_answer_to_an_earlier_question_is_no_answer(played):
    """Its message was given up, and sent again by another way."""
    with pytest.raises(TimeoutError):
        asked(played, timeout_s=0.01)

    played.says(answer(played, 1, b"late"), answer(played, 2, b"mine"))

    assert asked(played).data == b"mine"


def test_a_status_is_an_answer(played):
    """So the publisher learns that there is no stream."""
    head = b"NATS/1.0 503\r\n\r\n"

    played.says(
        b"HMSG %b1 1 %d %d\r\n%b\r\n" % (played.inbox, len(head), len(head), head)
    )

    assert asked(played).status == "503"


@pytest.mark.parametrize("last_words", [b"", b"-ERR 'Authorization Violation'\r\n"])
def test_a_closed_line_is_an_error(played, last_words):
    """Whether a thread asks, or the loop only looks."""
    played.says(last_words)
    played._theirs.shutdown(socket.SHUT_WR)

    with pytest.raises(ConnectionError):
        asked(played)
    with pytest.raises(ConnectionError):
        played.line.look()


def test_a_ping_is_answered_while_nobody_asks(played):
    """The server would take the line for dead."""
    played.line.look()
    played.says(b"PING\r\n")

    played.line.look()

    assert played.heard() == b"PONG\r\n"
    played.says(answer(played, 1, b"{}"))
    assert asked(played).data == b"{}"
