"""A provider on this machine that only writes down who was sent what.

`python -m embedded.sink --ledger FILE` takes POST / with one message or an array of
them, as the custom webhook provider sends them, and writes a line to its ledger (see
`embedded.sink_ledger`) before it answers. So the ledger, not the sender, tells who was
lost and who was repeated, and a `kill -9` of the sink forgets no answered call.

For tests it misbehaves on command: `POST /control` with some of `latencyMs`, `status`
(such as 503; null ends it), `hang`, `resetAfterAccept` (takes the message, then resets
the connection) and `times` (how many calls it holds for; absent, until changed).
`GET /stats` counts, `DELETE /reset` forgets keys, counts and control but not the
ledger, `GET /health` answers 204.
"""

import asyncio
import hashlib
import os
import re
import signal
import socket
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import click
import orjson

from embedded.sink_ledger import SinkCall, from_ranges, read, to_ranges
from models.errors import InvalidInputError

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_KEY = re.compile(rb"\r\nidempotency-key:[ \t]*([^\r\n]+)", re.IGNORECASE)
_REASONS = {200: "OK", 204: "No Content", 429: "Too Many Requests"}
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """How a sink is to behave.

    Attributes:
        port: On 127.0.0.1; 0 takes a free one.
        ledger: The file that calls are added to.
        latency_ms: How long it lets each call wait.
        fail_rate: The share of recipients it rejects, 0 to 1: always the same ones,
            by batch and seq.
        is_keyed: It keeps idempotency keys: a repeated key gets the answer it had,
            or 409 if the body is another.
    """

    port: int
    ledger: Path
    latency_ms: float = 0.0
    fail_rate: float = 0.0
    is_keyed: bool = False


@dataclass(slots=True)
class _Control:
    """What a test asked for; it holds for `times` calls."""

    latency_ms: float
    status: int | None = None
    hang: bool = False
    reset_after_accept: bool = False
    times: int | None = None


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    key: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class _Reply:
    """What to answer; without a body and status 0, nothing ever."""

    status: int
    body: bytes = b""
    delay_s: float = 0.0
    resets: bool = False

    def encoded(self) -> bytes:
        """Return the answer's bytes."""
        reason = _REASONS.get(self.status, "Answer")
        more = "Retry-After: 1\r\n" if self.status == 429 else ""
        head = (
            f"HTTP/1.1 {self.status} {reason}\r\nContent-Type: application/json\r\n"
            f"{more}Content-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


@dataclass(slots=True)
class Sink:
    """The state of one sink: its ledger's file, the keys it knows and its counts."""

    options: SinkOptions
    _file: int = field(init=False)
    _control: _Control = field(init=False)
    _known: dict[str, tuple[str, bytes]] = field(init=False, default_factory=dict)
    _counts: dict[str, int] = field(init=False, default_factory=dict)
    _batches: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        """Open the ledger, and learn the keys that it holds."""
        self._forget()
        if self.options.is_keyed:
            for call in read(self.options.ledger).calls:
                if call.is_delivery and call.key is not None:
                    self._known[call.key] = (call.body_hash, _answer_of(call))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(self.options.ledger, flags, 0o644)

    def close(self) -> None:
        """Close the ledger."""
        os.close(self._file)

    def reply(self, request: _Request) -> _Reply:
        """Take one request, and return what to answer."""
        match request.method, request.path:
            case "POST", "/":
                return self._take(request)
            case "POST", "/control":
                return self._change(orjson.loads(request.body))
            case "GET", "/stats":
                batches = len(self._batches)
                return _Reply(200, orjson.dumps({**self._counts, "batches": batches}))
            case "DELETE", "/reset":
                self._forget()
                return _Reply(204)
            case "GET", "/health":
                return _Reply(204)
        return _Reply(404)

    def _forget(self) -> None:
        self._control = _Control(self.options.latency_ms)
        self._known.clear()
        self._counts = dict.fromkeys(("accepted", "repeated", "rejected", "calls"), 0)
        self._batches.clear()

    def _change(self, wanted: Mapping[str, Any]) -> _Reply:
        self._control = _Control(
            latency_ms=wanted.get("latencyMs", self.options.latency_ms),
            status=wanted.get("status"),
            hang=wanted.get("hang", False),
            reset_after_accept=wanted.get("resetAfterAccept", False),
            times=wanted.get("times"),
        )
        return _Reply(204)

    def _next_control(self) -> _Control:
        """Return what holds for the next call, and count it."""
        if self._control.times == 0:
            self._control = _Control(self.options.latency_ms)
        if self._control.times is not None:
            self._control.times -= 1
        return self._control

    def _take(self, request: _Request) -> _Reply:
        """Write the call down, then return its answer."""
        control = self._next_control()
        self._counts["calls"] += 1
        delay_s = control.latency_ms / 1000
        members = _members(request.body)
        if members is None:
            return _Reply(400, _TWO_NAMES, delay_s)
        batch, seqs = members
        body_hash = hashlib.sha256(request.body).hexdigest()[:16]
        line = {
            "t": time.time(),
            "key": request.key,
            "hash": body_hash,
            "batch": batch,
            "seqs": to_ranges(seqs),
        }
        if control.hang:
            self._write({**line, "answer": "hung", "status": 0})
            return _Reply(0)
        if control.status is not None:
            self._write({**line, "answer": "refused", "status": control.status})
            return _Reply(control.status, delay_s=delay_s)
        known = self._known.get(request.key or "")
        if known and known[0] != body_hash:
            self._write({**line, "answer": "refused", "status": 409})
            return _Reply(409, delay_s=delay_s)
        body = known[1] if known else self._accept(line, batch, seqs)
        if known:
            self._counts["repeated"] += 1
            self._write({**line, "answer": "accepted", "status": 200, "replay": True})
        return _Reply(200, body, delay_s, resets=control.reset_after_accept)

    def _accept(
        self, line: Mapping[str, Any], batch: str, seqs: Sequence[int]
    ) -> bytes:
        rejected = self._rejected(batch, seqs)
        line = {**line, "answer": "accepted", "status": 200}
        if rejected:
            line["rejected"] = to_ranges(rejected)
        self._write(line)
        self._batches.add(batch)
        self._counts["accepted"] += len(seqs) - len(rejected)
        self._counts["rejected"] += len(rejected)
        body = _answer(seqs, frozenset(rejected))
        if self.options.is_keyed and line["key"] is not None:
            self._known[line["key"]] = (line["hash"], body)
        return body

    def _rejected(self, batch: str, seqs: Sequence[int]) -> list[int]:
        if not self.options.fail_rate:
            return []
        most = self.options.fail_rate * 2**32
        return [seq for seq in seqs if zlib.crc32(f"{batch}:{seq}".encode()) < most]

    def _write(self, line: Mapping[str, Any]) -> None:
        # One write call, so that a kill leaves the line whole or leaves none.
        os.write(self._file, orjson.dumps(line) + b"\n")


_TWO_NAMES = b'{"error": "Send messages of one batch, each with batch and seq."}'


def _members(body: bytes) -> tuple[str, list[int]] | None:
    """Return the call's batch and seqs, or nothing if it has none."""
    try:
        found = orjson.loads(body)
        messages = found if isinstance(found, list) else [found]
        seqs = [message["seq"] for message in messages]
        batches = {message["batch"] for message in messages}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    kinds = {*map(type, batches), *map(type, seqs)}
    if len(batches) != 1 or kinds != {str, int}:
        return None
    return batches.pop(), seqs


def _answer(seqs: Sequence[int], rejected: frozenset[int]) -> bytes:
    """Return a short answer where all are taken, else one object a recipient."""
    if not rejected:
        return b'{"accepted":%d}' % len(seqs)
    taken = {"status": "accepted"}
    refused = {"status": "rejected", "error": "The sink rejects this recipient."}
    found = [refused if seq in rejected else taken for seq in seqs]
    return orjson.dumps(found if len(found) > 1 else found[0])


def _answer_of(call: SinkCall) -> bytes:
    """Return the answer that an earlier process gave to a call."""
    seqs = [seq for part in from_ranges(call.seqs) for seq in part]
    rejected = [seq for part in from_ranges(call.rejected) for seq in part]
    return _answer(seqs, frozenset(rejected))


class _Connection(asyncio.Protocol):
    """One keep-alive connection: parses just what the sink needs of HTTP/1.1."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._is_waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Collect what came, and answer a request that is whole."""
        self._buffer += data
        self._answer_next()

    def _answer_next(self) -> None:
        request = None if self._is_waiting else self._take_request()
        if request is None:
            return
        reply = self._sink.reply(request)
        self._is_waiting = True
        if reply.delay_s:
            loop = asyncio.get_running_loop()
            loop.call_later(reply.delay_s, self._finish, reply)
        else:
            self._finish(reply)

    def _finish(self, reply: _Reply) -> None:
        if reply.resets:
            found: socket.socket = self._transport.get_extra_info("socket")
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        elif reply.status and not self._transport.is_closing():
            self._transport.write(reply.encoded())
            self._is_waiting = False
            self._answer_next()

    def _take_request(self) -> _Request | None:
        """Return the first whole request in the buffer, and remove it."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._buffer[: end + 2])
        length = _LENGTH.search(head)
        stop = end + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < stop:
            return None
        body = bytes(self._buffer[end + 4 : stop])
        del self._buffer[:stop]
        key = _KEY.search(head)
        method, path, _ = head.split(b" ", 2)
        return _Request(
            method.decode(), path.decode(), key[1].decode() if key else None, body
        )


def serve(options: SinkOptions) -> None:
    """Run a sink until SIGTERM or SIGINT; prints its address once it listens.

    Raises:
        InvalidInputError: The port cannot be had.
    """
    sink = Sink(options)
    loop = asyncio.new_event_loop()
    try:
        server = loop.run_until_complete(
            loop.create_server(lambda: _Connection(sink), "127.0.0.1", options.port)
        )
    except OSError as error:
        raise InvalidInputError(
            f"Port {options.port} is taken; choose another, or 0 for any.",
            field="port",
        ) from error
    port = server.sockets[0].getsockname()[1]
    click.echo(f"The sink listens on http://127.0.0.1:{port}/")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, loop.stop)
    loop.run_forever()
    server.close()
    sink.close()


@click.command()
@click.option("--port", default=0, help="On 127.0.0.1; 0 takes a free one.")
@click.option("--latency-ms", default=0.0, help="How long each call waits.")
@click.option("--fail-rate", default=0.0, help="The share rejected, 0 to 1.")
@click.option("--ledger", type=click.Path(path_type=Path), default=Path("sink.ndjson"))
@click.option("--keyed", is_flag=True, help="Keep idempotency keys.")
def main(
    port: int, latency_ms: float, fail_rate: float, ledger: Path, *, keyed: bool
) -> None:
    """Run a local provider that writes down who was sent what."""
    try:
        serve(SinkOptions(port, ledger, latency_ms, fail_rate, keyed))
    except InvalidInputError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
