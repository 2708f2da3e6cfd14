"""Signed reports to a receiver from many connections, as fast as it answers.

A process of its own. All requests are made and signed before the clock starts, so that
the load costs little beside what is measured: a write and a read for each report.
Prints one JSON object; the ids that were answered with 200 go into a file if asked.
"""

import argparse
import base64
import hashlib
import hmac
import json
import selectors
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

#: What the reports are signed with; for this benchmark alone.
KEY = b"benchmarks-sign-by-this-key-only"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
PATH = "/webhooks/resend"
BODY_BYTES = 1024


@dataclass(slots=True)
class Load:
    """What became of the reports.

    Attributes:
        ids: Of those answered with 200.
        late_s: How long each answer took.
        statuses: How often each came; 0 for a broken connection.
        seconds: From the first byte to the last.
    """

    ids: list[str] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0


def requests(count: int, prefix: str) -> list[bytes]:
    """Return so many signed requests; ids are the prefix and a number."""
    now = str(int(time.time()))
    event = {
        "type": "email.delivered",
        "created_at": "2026-01-01T00:00:00.000Z",
        "data": {"email_id": "", "to": ["a@example.com"], "tags": {"seq": "1"}},
    }
    found = []
    for number in range(count):
        event["data"]["email_id"] = report_id = f"{prefix}{number}"  # type: ignore[index]  # an object above
        bare = json.dumps(event).encode()
        body = bare[:-1] + b" " * (BODY_BYTES - len(bare)) + b"}"
        signed = hmac.digest(KEY, f"{report_id}.{now}.".encode() + body, hashlib.sha256)
        found.append(
            (
                f"POST {PATH} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json"
                f"\r\nContent-Length: {len(body)}\r\nsvix-id: {report_id}\r\n"
                f"svix-timestamp: {now}\r\nsvix-signature: v1,"
                f"{base64.b64encode(signed).decode()}\r\n\r\n"
            ).encode()
            + body
        )
    return found


class Client:
    """Connections that each have one request under way.

    Args:
        port: The receiver's, on loopback.
        reports: What is sent, in this order.
        prefix: Of their ids.
    """

    def __init__(self, port: int, reports: list[bytes], prefix: str) -> None:
        self._port = port
        self._reports = reports
        self._prefix = prefix
        self._next = 0
        self._selector = selectors.DefaultSelector()
        self.load = Load()

    def run(self, connections: int, most_s: float) -> Load:
        """Return what became of all reports, or of those that were in time."""
        began = time.perf_counter()
        for _ in range(connections):
            self._connect()
        while self._selector.get_map() and time.perf_counter() - began < most_s:
            for key, _ in self._selector.select(0.5):
                key.data(key.fileobj)
        self.load.seconds = time.perf_counter() - began
        return self.load

    def _connect(self) -> None:
        if self._next >= len(self._reports):
            return
        opened = socket.create_connection(("127.0.0.1", self._port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(opened, selectors.EVENT_READ, None)
        self._send(opened)

    def _send(self, connection: socket.socket) -> None:
        number, self._next = self._next, self._next + 1
        if number >= len(self._reports):
            self._end(connection)
            return
        sent_at = time.perf_counter()

        def heard(connection: socket.socket) -> None:
            self._heard(connection, number, sent_at)

        self._selector.modify(connection, selectors.EVENT_READ, heard)
        try:
            connection.sendall(self._reports[number])
        except OSError:
            self._broken(connection)

    def _heard(self, connection: socket.socket, number: int, sent_at: float) -> None:
        try:
            answer = connection.recv(65536)
        except OSError:
            answer = b""
        if not answer:
            self._broken(connection)
            return
        status = int(answer[9:12])
        self.load.statuses[status] += 1
        if status == 200:
            self.load.late_s.append(time.perf_counter() - sent_at)
            self.load.ids.append(f"{self._prefix}{number}")
        if b"onnection: close" in answer:
            self._end(connection)
            self._connect()
        else:
            self._send(connection)

    def _broken(self, connection: socket.socket) -> None:
        """Go on with another connection; the receiver may be gone."""
        self.load.statuses[0] += 1
        self._end(connection)
        try:
            self._connect()
        except OSError:
            return

    def _end(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()


def main() -> None:
    """Read the command line, wait for a line of input, send, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--reports", type=int, required=True)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--prefix", default="r")
    parser.add_argument("--answered", type=Path, help="where the answered ids go")
    chosen = parser.parse_args()
    client = Client(chosen.port, requests(chosen.reports, chosen.prefix), chosen.prefix)
    print("ready", flush=True)
    sys.stdin.readline()
    before = time.process_time()
    load = client.run(chosen.connections, chosen.seconds)
    cpu_s = time.process_time() - before
    if chosen.answered:
        chosen.answered.write_text("\n".join(load.ids))
    late = sorted(load.late_s) or [0.0]
    print(
        json.dumps(
            {
                "answered": len(load.ids),
                "seconds": load.seconds,
                "per_s": len(load.ids) / load.seconds,
                "p50_ms": late[len(late) // 2] * 1000,
                "p99_ms": late[len(late) * 99 // 100] * 1000,
                "cpu_s": cpu_s,
                "statuses": {str(status): n for status, n in load.statuses.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
