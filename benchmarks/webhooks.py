"""Signed reports in, durably stored, answered: ours beside gunicorn's sync workers.

Both run two processes on the same machine in the same run, one after the other, with
the same NATS and the same load: Svix-signed bodies of 1 kB, all genuine, each another
event. The load comes from a process of its own (`benchmarks/webhook_load.py`) and not
from wrk, which would have to make each request in Lua, for it costs less.

The last line is one JSON object. `lost` counts answers of 200 that are not in the
stream; `us` is CPU time in µs an event, by process.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from benchmarks.meters import machine
from benchmarks.report import show
from benchmarks.webhook_load import SECRET
from brokers import dispatch
from embedded.data_dir import choose_ports
from embedded.network import answers
from embedded.process import Process, ProcessSpec
from embedded.stack import Stack

_HOME = Path(__file__).absolute().parent.parent
_WARM_UP = 500
_HEALTH = b"GET /health HTTP/1.0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Contender:
    """Who takes reports.

    Attributes:
        name: What the table calls it.
        module: The program and its arguments, with `{port}`.
        reports: How many it gets, by default.
    """

    name: str
    module: tuple[str, ...]
    reports: int


OURS = Contender(
    "batchsender",
    (
        *("granian", "--interface", "wsgi", "--factory", "--host", "127.0.0.1"),
        *("--port", "{port}", "--workers", "2", "--blocking-threads", "32"),
        "webhook_app:create_app",
    ),
    30_000,
)
GUNICORN = Contender(
    "gunicorn sync",
    (
        *("gunicorn", "--workers", "2", "--worker-class", "sync"),
        *("--bind", "127.0.0.1:{port}", "--log-level", "warning"),
        "benchmarks.webhook_peer:create_app()",
    ),
    6_000,
)


class Arena:
    """One contender, its NATS, and the load.

    Args:
        contender: Who.
        stack: Its NATS runs.
        folder: For logs.
        connections: From how many the load comes.
    """

    def __init__(
        self, contender: Contender, stack: Stack, folder: Path, connections: int
    ) -> None:
        self._stack = stack
        self._connections = connections
        self._port = port = choose_ports(folder, ("receiver",), explicit={})["receiver"]
        argv = (part.replace("{port}", str(port)) for part in contender.module)
        self._receiver = Process(
            ProcessSpec(
                name="receiver",
                argv=(sys.executable, "-m", *argv),
                log_path=folder / "logs" / "receiver.log",
                port=port,
                ready=lambda: answers(port, send=_HEALTH, expect=b"HTTP/1."),
                env={**stack.urls(), "RESEND_WEBHOOK_SECRET": SECRET},
                cwd=_HOME,
            )
        )

    def measured(self, reports: int) -> dict[str, Any]:
        """Return the contender's figures."""
        self._receiver.start()
        try:
            self._load(_WARM_UP, "warm-up")
            stored = self._stored()
            told = self._load(reports, "report")
            told["lost"] = max(0, told["answered"] - (self._stored() - stored))
        finally:
            self._receiver.stop()
        return told

    def _load(self, reports: int, prefix: str) -> dict[str, Any]:
        child = subprocess.Popen(  # noqa: S603 - our own module
            [
                *(sys.executable, "-m", "benchmarks.webhook_load"),
                *("--port", str(self._port), "--reports", str(reports)),
                *("--connections", str(self._connections)),
                *("--prefix", f"{prefix}-{self._port}-"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_HOME,
            text=True,
        )
        cast("IO[str]", child.stdout).readline()
        before = self._cpu_s()
        output, _ = child.communicate("\n")
        told: dict[str, Any] = json.loads(output)
        spent = {name: s - before[name] for name, s in self._cpu_s().items()}
        spent["load"] = told.pop("cpu_s")
        told["us"] = {
            name: round(s / max(told["answered"], 1) * 1e6) for name, s in spent.items()
        }
        return told

    def _cpu_s(self) -> dict[str, float]:
        return {
            "receiver": self._receiver.cpu_seconds(),
            "nats": self._stack.nats.cpu_seconds(),
        }

    def _stored(self) -> int:
        with closing(dispatch.connect(self._stack.nats.url, middleware=[])) as broker:
            return broker.stored("webhook").get("", 0)


def measured(
    contender: Contender, *, reports: int | None, connections: int
) -> dict[str, Any]:
    """Return a contender's figures, from servers of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with Stack(folder, names=("nats",)) as stack:
            arena = Arena(contender, stack, folder, connections)
            return arena.measured(reports or contender.reports)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure both, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reports", type=int, help="for each")
    parser.add_argument("--connections", type=int, default=64)
    chosen = parser.parse_args(arguments)
    found = {}
    for contender in (OURS, GUNICORN):
        print(f"{contender.name} …", file=sys.stderr)
        found[contender.name] = measured(
            contender, reports=chosen.reports, connections=chosen.connections
        )
    _show(found)
    ours, theirs = found[OURS.name], found[GUNICORN.name]
    ratios = {
        "per_s": round(ours["per_s"] / theirs["per_s"], 2),
        "p50_ms": round(ours["p50_ms"] / theirs["p50_ms"], 2),
        "p99_ms": round(ours["p99_ms"] / theirs["p99_ms"], 2),
        "receiver_us": round(ours["us"]["receiver"] / theirs["us"]["receiver"], 2),
    }
    rounded = {
        name: {k: round(v, 1) if isinstance(v, float) else v for k, v in one.items()}
        for name, one in found.items()
    }
    print(json.dumps({"machine": machine(), **rounded, "ours_by_theirs": ratios}))


def _show(found: Mapping[str, Mapping[str, Any]]) -> None:
    columns = ("receiver", "nats", "load")
    show(
        "Signed reports of 1 kB, stored durably; CPU in µs an event",
        ("", "events/s", "p50 ms", "p99 ms", *columns, "lost"),
        [
            (
                name,
                round(one["per_s"]),
                round(one["p50_ms"], 1),
                round(one["p99_ms"], 1),
                *(one["us"][column] for column in columns),
                one["lost"],
            )
            for name, one in found.items()
        ],
    )


if __name__ == "__main__":
    main()
