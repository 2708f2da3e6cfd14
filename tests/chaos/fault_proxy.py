"""A TCP proxy in front of one server, that loses or holds bytes when a test says so."""

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self

_RESET = struct.pack("ii", 1, 0)


class FaultProxy:
    """Passes bytes on, until told otherwise; used as a context manager.

    Attributes:
        port: Where it listens, on loopback.
        met: Set once the bytes of `lose_answers_after` or `lose_from` came by.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.met = threading.Event()
        self._answers_pass = threading.Event()
        self._answers_pass.set()
        self._answer_marker: bytes | None = None
        self._request_marker: bytes | None = None
        self._connections: list[_Pair] = []

    def lose_answers_after(self, marker: bytes) -> None:
        """Lose every answer on a connection after a request that holds these bytes."""
        self.met.clear()
        self._answer_marker = marker

    def lose_from(self, marker: bytes) -> None:
        """Lose what a client sends from these bytes on, all the rest included."""
        self.met.clear()
        self._request_marker = marker

    def hold_answers(self) -> None:
        """Keep all answers back until `release_answers`."""
        self._answers_pass.clear()

    def release_answers(self) -> None:
        """Let held answers go, and all later ones."""
        self._answers_pass.set()

    def reset(self) -> None:
        """Break all connections and pass everything on new ones."""
        self._answer_marker = self._request_marker = None
        for pair in self._connections:
            pair.close()
        self._connections.clear()

    def __enter__(self) -> Self:
        """Begin to listen."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Break everything and listen no more."""
        self.release_answers()
        # A thread that waits in `accept` is not woken by `close` alone.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port), 5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        pair = _Pair(client, server)
        self._connections.append(pair)
        for pump in (self._requests, self._answers):
            threading.Thread(target=pump, args=(pair,), daemon=True).start()

    def _requests(self, pair: "_Pair") -> None:
        last = b""
        with contextlib.suppress(OSError):
            while data := pair.client.recv(1 << 16):
                # A marker may come in two pieces.
                seen, last = last + data, data[-64:]
                if self._request_marker and self._request_marker in seen:
                    pair.is_deaf = True
                    self.met.set()
                if pair.is_deaf:
                    continue
                if self._answer_marker and self._answer_marker in seen:
                    pair.is_mute = True
                pair.server.sendall(data)
                if pair.is_mute:
                    self.met.set()
        pair.close()

    def _answers(self, pair: "_Pair") -> None:
        with contextlib.suppress(OSError):
            while data := pair.server.recv(1 << 16):
                self._answers_pass.wait()
                if not pair.is_mute:
                    pair.client.sendall(data)
        pair.close()


class _Pair:
    """One connection on both of its sides."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.is_mute = False
        self.is_deaf = False

    def close(self) -> None:
        """Break both sides at once; again does nothing."""
        for side in (self.client, self.server):
            with contextlib.suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                side.shutdown(socket.SHUT_RDWR)
            side.close()
