"""The door to providers against servers that misbehave."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from providers import http as http_door
from providers.guard import Guard
from providers.http import HttpAnswer, HttpSession, NoAnswer, NotSent

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
DEADLINE_S = 0.3
LOCAL = Guard.of(ports="80,443", networks="127.0.0.0/8")


@pytest.fixture
def session():
    found = HttpSession(LOCAL)
    yield found
    found.close()


def post(session, url, body=b"[1]", deadline_s=DEADLINE_S):
    """Post, and check that the deadline was kept."""
    began = time.monotonic()
    found = session.post(url, body, {"X-A": "b"}, deadline_s=deadline_s)
    assert time.monotonic() - began < deadline_s + 5
    return found


def serve_for_ever(visit):
    while visit.take():
        visit.say(OK)


def test_a_request_holds_what_was_asked_and_its_connection_is_used_again(
    session, endpoint
):
    """One connection serves posts that follow each other."""
    server = endpoint(serve_for_ever)

    answers = [post(session, server.url, deadline_s=5) for _ in range(3)]

    assert answers == [HttpAnswer(200, {"content-length": "2"}, b"{}")] * 3
    assert server.connections == 1
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /in?a=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-A: b" in head
    assert body == b"[1]"


def hang(visit):
    visit.take()
    visit.over.wait(5)


def drip_head(visit):
    visit.take()
    visit.say(b"HTTP/1.1 200 OK\r\n")
    while not visit.over.wait(0.02):
        visit.say(b"X-A: b\r\n")


def drip_body(visit):
    visit.take()
    visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not visit.over.wait(0.02):
        visit.say(b"x")


def reset(visit):
    visit.take()
    visit.reset()


def reset_in_the_answer(visit):
    visit.take()
    visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    visit.reset()


def close_without_a_word(visit):
    visit.take()


def short_answer(visit):
    visit.take()
    visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")


def broken_chunks(visit):
    visit.take()
    visit.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")


def no_http(visit):
    visit.take()
    visit.say(b"220 smtp.example.com ESMTP\r\n")


def too_long(visit):
    visit.take()
    visit.say(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_100_000)


def endless(visit):
    visit.take()
    visit.say(b"HTTP/1.1 200 OK\r\n\r\n")
    while not visit.over.is_set():
        visit.say(b"x" * 65536)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (hang, "time was over"),
        (drip_head, "time was over"),
        (drip_body, "time was over"),
        (reset, "broke"),
        (reset_in_the_answer, "broke"),
        (close_without_a_word, "closed"),
        (short_answer, "short"),
        (broken_chunks, "short"),
        (no_http, "not HTTP"),
        (too_long, "too long"),
        (endless, "too long"),
    ],
)
def test_whatever_happens_after_the_first_byte_is_no_answer(
    session, endpoint, script, words
):
    """In time, once, and without reuse of the connection."""
    server = endpoint(script)

    found = post(session, server.url)

    assert isinstance(found, NoAnswer)
    assert words in found.reason
    assert len(server.requests) == 1


def test_a_server_that_reads_nothing_ends_at_the_deadline(session, endpoint):
    """A body larger than all buffers cannot be sent."""
    server = endpoint(lambda visit: visit.over.wait(5))

    found = post(session, server.url, body=b"x" * 30_000_000)

    assert isinstance(found, NoAnswer)


def test_a_refused_connection_proves_that_nothing_was_taken(session):
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    found = post(session, f"http://127.0.0.1:{port}/")

    assert found == NotSent("No connection to 127.0.0.1: the connection was refused.")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 64 + ".example"])
def test_an_unknown_name_proves_that_nothing_was_taken(session, host):
    """Names that cannot be are like those that are not."""
    found = session.post(f"http://{host}/", b"", {}, deadline_s=20)

    assert isinstance(found, NotSent)


def test_a_connection_that_does_not_come_proves_that_nothing_was_taken(session):
    """A full backlog answers no connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)

        found = post(session, f"http://127.0.0.1:{address[1]}/")

        for one in waiting:
            one.close()
    assert isinstance(found, NotSent)
    assert "time was over" in found.reason


@pytest.mark.parametrize("script", [no_http, lambda visit: visit.over.wait(5)])
def test_without_tls_nothing_leaves(session, endpoint, script):
    """A handshake that fails or hangs sends no request."""
    server = endpoint(script)

    found = post(session, server.url.replace("http:", "https:"))

    assert isinstance(found, NotSent)


def test_redirects_are_answers_and_are_not_followed(session, endpoint):
    """A second call would be one that nobody counted."""

    def redirect(visit):
        while visit.take():
            visit.say(
                b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /\r\n"
                b"Content-Length: 0\r\n\r\n"
            )

    server = endpoint(redirect)

    found = post(session, server.url)

    assert isinstance(found, HttpAnswer)
    assert found.status == 307
    assert len(server.requests) == 1


def test_proxies_in_the_environment_are_not_used(session, endpoint, monkeypatch):
    """A proxy may repeat calls."""
    proxy = endpoint(serve_for_ever)
    server = endpoint(serve_for_ever)
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)

    post(session, server.url, deadline_s=5)

    assert (len(server.requests), proxy.connections) == (1, 0)


def test_an_old_idle_connection_is_not_used_again(session, endpoint, monkeypatch):
    """Its server may be closing it at this moment."""
    monkeypatch.setattr(http_door, "MAX_IDLE_S", 0.0)
    server = endpoint(serve_for_ever)

    for _ in range(3):
        assert isinstance(post(session, server.url, deadline_s=5), HttpAnswer)

    assert server.connections == 3


def test_a_connection_that_its_server_closed_is_not_used_again(session, endpoint):
    """Else the post would end in a reset, which nobody can tell from a loss."""

    def answer_once(visit):
        visit.take()
        visit.say(OK)

    server = endpoint(answer_once)

    for _ in range(3):
        assert isinstance(post(session, server.url, deadline_s=5), HttpAnswer)
        assert server.closed.wait(5)
        server.closed.clear()

    assert server.connections == 3


def test_a_server_that_says_close_is_taken_at_its_word(session, endpoint):
    """Even when it leaves the connection open."""

    def say_close(visit):
        while visit.take():
            visit.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}")
            visit.connection.shutdown(socket.SHUT_WR)

    server = endpoint(say_close)

    found = [post(session, server.url, deadline_s=5) for _ in range(2)]

    assert [answer.body for answer in found] == [b"{}", b"{}"]
    assert server.connections == 2


def test_many_threads_share_a_session(session, endpoint, monkeypatch):
    """Each answer goes to who asked; only so many idle connections are kept."""
    monkeypatch.setattr(http_door, "MAX_IDLE", 3)

    def echo(visit):
        while request := visit.take():
            body = request.partition(b"\r\n\r\n")[2]
            visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            visit.say(body)

    server = endpoint(echo)
    start = threading.Barrier(20)

    def work(no):
        start.wait()
        bodies = [b"%d-%d" % (no, i) for i in range(10)]
        return all(
            session.post(server.url, body, {}, deadline_s=10).body == body
            for body in bodies
        )

    with ThreadPoolExecutor(20) as threads:
        assert all(threads.map(work, range(20)))

    assert all(len(idle) <= 3 for idle in session._idle.values())


def test_a_call_whose_time_is_over_is_not_begun(session, endpoint):
    """Nothing leaves, so nothing was taken."""
    server = endpoint(serve_for_ever)

    found = post(session, server.url, deadline_s=0)

    assert isinstance(found, NotSent)
    assert server.requests == []


def test_a_header_with_a_line_break_is_a_fault_of_the_program(session, endpoint):
    """Nothing is sent."""
    server = endpoint(serve_for_ever)

    with pytest.raises(ValueError, match="line break"):
        session.post(server.url, b"", {"X-A": "a\r\nb: c"}, deadline_s=5)

    assert server.requests == []
