"""A provider on this machine: real HTTP, and it misbehaves on command.

It keeps its own account of what it took, which is the truth of every test: what the
caller was told may be less.
"""

import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

#: How long a fake that hangs does so, unless the test ends before.
_HANG_S = 30.0


@dataclass(frozen=True)
class Seen:
    """A request as it came; names of headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body, which is JSON."""
        return orjson.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer of a provider."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(
        default_factory=lambda: {"Content-Type": "application/json"}
    )

    @classmethod
    def of(cls, body: Any, *, status: int = 200, **headers: str) -> "Reply":
        """Return an answer in JSON; `x_a="b"` is the header `x-a`."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given["Content-Type"] = "application/json"
        return cls(status, orjson.dumps(body), given)


@dataclass(frozen=True)
class Took:
    """A message that a fake took, with the ids of ours that came with it."""

    address: str
    batch: str | None = None
    seq: str | None = None


class FakeProvider:
    """What all fakes share; a subclass says how one provider answers.

    Attributes:
        requests: Everything that came.
        took: The messages that were taken, each as often as it was.
        refused: Addresses that are refused for good.
    """

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        self.took: list[Took] = []
        self.refused: set[str] = set()
        self._broken: list[str] = []
        self._commands: deque[Callable[[_Handler, Seen], None]] = deque()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.fake = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Return where it is, without a path."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, seen: Seen) -> Reply:
        """Take what a request asks for, and return the answer to it."""
        raise NotImplementedError

    def error(self, status: int, name: str, words: str) -> Reply:
        """Return an error in this provider's shape."""
        raise NotImplementedError

    def says(self, reply: Reply) -> None:
        """Answer the next request with this, and take nothing."""
        self._commands.append(lambda handler, _: handler.say(reply))

    def repeats_what_it_is_told(self, status: int) -> None:
        """Answer the next request with an error that has all of it in its words."""

        def echo(handler: "_Handler", seen: Seen) -> None:
            words = f"{dict(seen.headers)} {seen.path} {seen.body.decode()}"
            handler.say(self.error(status, "", words))

        self._commands.append(echo)

    def is_late(self, seconds: float) -> None:
        """Take the next request, and answer it too late."""

        def wait(handler: "_Handler", seen: Seen) -> None:
            reply = self.taken(seen)
            self._over.wait(seconds)
            handler.say(reply)

        self._commands.append(wait)

    def hangs(self) -> None:
        """Take the next request, and never answer."""
        self.is_late(_HANG_S)

    def drips(self) -> None:
        """Take the next request, and answer a byte at a time, without end."""

        def drip(handler: "_Handler", seen: Seen) -> None:
            self.taken(seen)
            handler.begin(Reply(headers={"Content-Length": "100000"}))
            while not self._over.wait(0.02):
                handler.wfile.write(b" ")

        self._commands.append(drip)

    def resets_after_it_took(self) -> None:
        """Take the next request, and break the connection."""

        def reset(handler: "_Handler", seen: Seen) -> None:
            self.taken(seen)
            handler.reset()

        self._commands.append(reset)

    def answers(self, body: bytes) -> None:
        """Take the next request, and say 200 with this body, called JSON."""

        def answer(handler: "_Handler", seen: Seen) -> None:
            self.taken(seen)
            handler.say(Reply(body=body))

        self._commands.append(answer)

    def taken(self, seen: Seen) -> Reply:
        """Answer as a provider that behaves."""
        with self._lock:
            try:
                return self.answer(seen)
            except (AssertionError, KeyError) as error:
                # The test hears of it when the fake ends.
                self._broken.append(f"{seen.path}: {error!r}")
                return self.error(500, "", "This is no request of this provider.")

    def lead(self, handler: "_Handler", seen: Seen) -> None:
        """Answer a request as the next command says."""
        with self._lock:
            self.requests.append(seen)
            command = self._commands.popleft() if self._commands else None
        if command is None:
            handler.say(self.taken(seen))
        else:
            command(handler, seen)

    def stop(self) -> None:
        """End it; nobody listens there any more."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        assert self._broken == []


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Hand a request to the fake."""
        length = int(self.headers.get("content-length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, self.path, headers, self.rfile.read(length))
        try:
            self.server.fake.lead(self, seen)
        except OSError:
            # The caller has gone, as many tests want it to.
            self.close_connection = True

    do_GET = do_POST  # noqa: N815 - the library's name

    def say(self, reply: Reply) -> None:
        """Send an answer."""
        length = {"Content-Length": str(len(reply.body))}
        self.begin(Reply(reply.status, b"", {**reply.headers, **length}))
        self.wfile.write(reply.body)

    def begin(self, reply: Reply) -> None:
        """Send the head of an answer."""
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def reset(self) -> None:
        """Close so that the caller sees a reset."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
