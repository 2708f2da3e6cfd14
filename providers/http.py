"""One request to a provider: it ends in time, happens once, and says what is known.

This stands beside `requests` and not on it because three promises lie below a
library's options: a *total* deadline, which a server that sends a byte a second would
otherwise stretch for ever; proof of whether a first byte left, which decides between
*refused* and *none* (design, section 5 rule 5); and no second attempt by anybody. It is
also four times cheaper. Redirects are not followed, and proxies in the environment are
not used. The standard library parses the answers.
"""

import contextlib
import functools
import http.client
import io
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import certifi
import orjson

from models.errors import BatchSenderError
from providers.guard import Guard

#: An answer longer than this counts as unreadable.
MAX_ANSWER_BYTES = 1_000_000
#: A connection idle for longer is not used again: its server may be closing it at
#: this moment, and a reset after our first byte would leave an unknown outcome.
MAX_IDLE_S = 2.0
#: How many idle connections are kept for one server.
MAX_IDLE = 100


class ForbiddenServerError(BatchSenderError):
    """The guard does not let us call this server."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The server answered, wholly and in time.

    Attributes:
        status: Such as 200.
        headers: Values by name in lower case; of a repeated header the last.
        body: At most `MAX_ANSWER_BYTES`.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte of the request left: proof that nothing was taken.

    Attributes:
        reason: A sentence that a tenant may read.
        is_forbidden: The server may not be called at all; trying again is no use.
    """

    reason: str
    is_forbidden: bool = False


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Something left and no whole answer came: nobody can tell what became of it.

    Attributes:
        reason: A sentence that a tenant may read.
    """

    reason: str


def json_object(found: HttpAnswer | NotSent | NoAnswer) -> Mapping[str, Any]:
    """Return the JSON object that was answered; an empty one if none was."""
    try:
        body = orjson.loads(found.body) if isinstance(found, HttpAnswer) else {}
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, Mapping) else {}


class HttpSession:
    """A pool of connections for many threads; it makes none before the first call.

    Whom the guard refuses is not connected to.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._lock = threading.Lock()
        self._idle: dict[_Server, deque[_Connection]] = {}

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float
    ) -> HttpAnswer | NotSent | NoAnswer:
        """Post a body; as `send`."""
        return self.send("POST", url, body, headers, deadline_s=deadline_s)

    def send(
        self,
        method: str,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        deadline_s: float,
    ) -> HttpAnswer | NotSent | NoAnswer:
        """Send one request and return what became of it, after at most `deadline_s`.

        The deadline covers everything but the system's own name resolution, which
        cannot be interrupted; when that took too long, nothing is sent. At the
        deadline the connection is closed. `headers` may not hold `Host`,
        `Content-Length` or `Connection`.

        Raises:
            ValueError: A header holds a line break or is not Latin-1.
        """
        ends_at = time.monotonic() + deadline_s
        server, path = _target(url)
        request = _head(f"{method} {path}", server, body, headers) + body
        try:
            connection = self._connected(server, ends_at)
        except ForbiddenServerError as error:
            return NotSent(f"{server.host} may not be called: {error}.", True)
        except (OSError, UnicodeError) as error:
            return NotSent(f"No connection to {server.host}: {_said(error)}.")
        try:
            answer = connection.exchange(request)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return NoAnswer(f"No whole answer from {server.host}: {_said(error)}.")
        if connection.is_reusable:
            self._keep(server, connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Close the idle connections; those in use are closed by their posts' ends."""
        with self._lock:
            for connections in self._idle.values():
                while connections:
                    connections.pop().close()

    def _connected(self, server: "_Server", ends_at: float) -> "_Connection":
        while True:
            with self._lock:
                idle = self._idle.get(server)
                connection = idle.pop() if idle else None
            if connection is None:
                return _Connection(_open(server, self._guard, ends_at), ends_at)
            if connection.is_fresh():
                connection.ends_at = ends_at
                return connection
            connection.close()

    def _keep(self, server: "_Server", connection: "_Connection") -> None:
        connection.idle_since = time.monotonic()
        with self._lock:
            idle = self._idle.setdefault(server, deque())
            idle.append(connection)
            # The newest is taken first, so the oldest end up on the left.
            stale_before = connection.idle_since - MAX_IDLE_S
            while len(idle) > MAX_IDLE or idle[0].idle_since < stale_before:
                idle.popleft().close()


@dataclass(frozen=True, slots=True)
class _Server:
    """Where connections go.

    Attributes:
        name: The host and port as the URL has them, for the header `Host`.
    """

    is_tls: bool
    host: str
    port: int
    name: str


@functools.lru_cache(maxsize=1024)
def _target(url: str) -> tuple[_Server, str]:
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    server = _Server(is_tls, parts.hostname or "", port, parts.netloc)
    return server, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _head(what: str, server: _Server, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"{what} HTTP/1.1",
        f"Host: {server.name}",
        f"Content-Length: {len(body)}",
        "Accept-Encoding: identity",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("A header holds a line break.")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _open(server: _Server, guard: Guard, ends_at: float) -> socket.socket:
    """Return a connection to the first of the server's addresses that takes one.

    Those are the very addresses that the guard has seen.
    """
    found = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    refusal = guard.refusal([str(one[4][0]) for one in found], server.port)
    if refusal is not None:
        raise ForbiddenServerError(refusal)
    failure: OSError = OSError("The name has no address")
    for family, kind, protocol, _, address in found:
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(_left(ends_at))
            opened.connect(address)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return _wrapped(opened, server, ends_at)
        except OSError as error:
            opened.close()
            failure = error
    raise failure


def _wrapped(opened: socket.socket, server: _Server, ends_at: float) -> socket.socket:
    if not server.is_tls:
        return opened
    opened.settimeout(_left(ends_at))
    return _tls().wrap_socket(opened, server_hostname=server.host)


@functools.cache
def _tls() -> ssl.SSLContext:
    # The system's authorities (or SSL_CERT_FILE's), and the usual ones where a bare
    # system has none.
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _left(ends_at: float) -> float:
    left_s = ends_at - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    return left_s


class _Connection(io.RawIOBase):
    """One connection, read so that every wait ends at `ends_at`."""

    def __init__(self, opened: socket.socket, ends_at: float) -> None:
        super().__init__()
        self._socket = opened
        self.ends_at = ends_at
        self.idle_since = 0.0
        self.is_reusable = False

    def exchange(self, request: bytes) -> HttpAnswer:
        """Send a request and read its answer.

        Raises:
            OSError: The connection broke, or the time is over.
            http.client.HTTPException: The answer is short, too long or not HTTP.
        """
        self.is_reusable = False
        self._socket.settimeout(_left(self.ends_at))
        self._socket.sendall(request)
        # The parser wants no more of a socket than this method.
        response = http.client.HTTPResponse(cast("socket.socket", _Readable(self)))
        try:
            response.begin()
            body = response.read(MAX_ANSWER_BYTES + 1)
            # With a size given, the parser does not complain of a short body itself.
            if response.length or len(body) > MAX_ANSWER_BYTES:
                raise http.client.IncompleteRead(b"", response.length)
            self.is_reusable = not response.will_close
            headers = {name.lower(): text for name, text in response.getheaders()}
            return HttpAnswer(response.status, headers, body)
        finally:
            response.close()

    def is_fresh(self) -> bool:
        """Tell whether an idle connection is young, and not closed by its server."""
        if time.monotonic() - self.idle_since > MAX_IDLE_S:
            return False
        # Between two requests a server has nothing to say but that it closes.
        watched = select.poll()
        watched.register(self._socket, select.POLLIN)
        return not watched.poll(0)

    def readable(self) -> bool:
        """Tell that this can be read from."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there, and wait for it no longer than the deadline."""
        self._socket.settimeout(_left(self.ends_at))
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        """Close the connection, at once and for both sides."""
        super().close()
        self._socket.close()


@dataclass(frozen=True, slots=True)
class _Readable:
    """What the parser takes for a socket; closing it leaves the connection open."""

    connection: _Connection

    def makefile(self, _mode: str) -> io.BufferedIOBase:
        """Return the connection as a buffered file."""
        return _Answer(self.connection)


class _Answer(io.BufferedReader):
    """One answer's bytes; its end is not the connection's."""

    def close(self) -> None:
        """Let go of the connection without closing it."""
        # The parser closes it, and so does the collector when it is long detached.
        with contextlib.suppress(ValueError):
            self.detach()


#: What failed, in words that show nothing of our machine; the first kind that fits.
_SAID: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "the time was over"),
    (ssl.SSLCertVerificationError, "its certificate is not valid"),
    (ssl.SSLError, "TLS failed"),
    (socket.gaierror, "the name is not known"),
    (UnicodeError, "the name is not known"),
    (ConnectionRefusedError, "the connection was refused"),
    (http.client.RemoteDisconnected, "it closed the connection"),
    (http.client.IncompleteRead, "the answer was short or too long"),
    (http.client.HTTPException, "the answer is not HTTP"),
)


def _said(error: Exception) -> str:
    known = (text for kind, text in _SAID if isinstance(error, kind))
    return next(known, "the connection broke")
