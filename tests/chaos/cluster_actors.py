"""The cluster tests' actors, as the `dramatiq` command imports them.

An actor claims the number of its job before it works on it, as an application does
whose effects must not be repeated: whoever makes the number's file has it. What it
works on is one line of the journal: the number and the time.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import dramatiq

from brokers import JetStreamBroker, Route

#: Short, so that what was lost with a server comes again within the test.
ACK_WAIT_MS = 5000
STREAM = "chaos"
TENANTS = ("a", "b", "c", "d")


def cluster_broker(
    servers: Sequence[str], *, stream: str = STREAM, replicas: int = 3
) -> JetStreamBroker:
    """Return a broker with a plain queue and one with tenants, each on a stream."""
    subject = f"{stream}-tenants.{{tenant}}.job"
    return JetStreamBroker(
        servers,
        namespace=stream,
        routes=[Route("tenants", f"{stream}-tenants", subject)],
        middleware=[],
        replicas=replicas,
        ack_wait_ms=ACK_WAIT_MS,
    )


class Journal:
    """Who worked on what, in files that all processes share.

    Args:
        folder: Made by whoever reads it.
    """

    def __init__(self, folder: Path) -> None:
        self._claims = folder / "claims"
        self._claims.mkdir(parents=True, exist_ok=True)
        self._lines = folder / "journal"

    def claim(self, number: int) -> bool:
        """Tell whether the number is ours; no second caller ever gets it."""
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            os.close(os.open(self._claims / str(number), flags))
        except FileExistsError:
            return False
        return True

    def note(self, kind: str, number: int) -> None:
        """Append a line; lines of several processes do not mix."""
        line = f"{kind} {number} {time.monotonic()}\n".encode()
        file = os.open(self._lines, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        try:
            os.write(file, line)
        finally:
            os.close(file)

    def lines(self, kind: str) -> list[tuple[int, float]]:
        """Return the numbers and times of one kind, in order."""
        if not self._lines.exists():
            return []
        words = (line.split() for line in self._lines.read_text().splitlines())
        return [(int(w[1]), float(w[2])) for w in words if w[0] == kind]


if "CHAOS_SERVERS" in os.environ:
    broker = cluster_broker(os.environ["CHAOS_SERVERS"].split(","))
    dramatiq.set_broker(broker)
    journal = Journal(Path(os.environ["CHAOS_JOURNAL"]))

    def work(number: int) -> None:
        """Claim the number and work on it."""
        journal.note("done" if journal.claim(number) else "repeated", number)

    dramatiq.actor(work, actor_name="plain")
    dramatiq.actor(work, actor_name="tenants", queue_name="tenants")
