"""The same work done by Celery and by Dramatiq on Redis, as somebody clever would.

Both get the servers, settings and sink that we get: PostgreSQL for the recipients and
Valkey for the queue. They are on their own in a house where nothing of ours runs.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import redis

from benchmarks.house import CONTENT, House
from benchmarks.meters import Meter, per_recipient_us
from benchmarks.peers import killing
from benchmarks.report import show
from benchmarks.run import WARM_UP, Told, bar
from embedded.process import ProcessSpec, StartError

#: The two, with the command of their workers: two processes each.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "celery": (
        *("celery", "-A", "benchmarks.peers.celery_app", "worker"),
        *("--pool", "prefork", "--concurrency", "2", "-O", "fair"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        *("--loglevel", "WARNING"),
    ),
    "dramatiq": (
        *("dramatiq", "benchmarks.peers.dramatiq_app"),
        *("--processes", "2", "--threads", "8"),
    ),
}
_SERVERS = ("dragonfly", "postgres")
_HOME = Path(__file__).absolute().parent.parent.parent
#: A batch is given up when nothing has moved for so long.
_STANDSTILL_S = 75.0


class Peers:
    """The peers that this Python has installed.

    Args:
        python: Runs the peers' processes.
        chunk: Recipients in a task.
        say: Is told of each peer that is left out.
    """

    def __init__(self, python: str, chunk: int, say: Callable[[str], None]) -> None:
        self._python = python
        self._chunk = chunk
        self._say = say

    def run(self, recipients: int, ours: Mapping[str, Any]) -> dict[str, Any]:
        """Measure each; returns its figures, and ours by theirs as ratios."""
        found = {}
        for kind in self._installed():
            with self._house(kind) as house:
                found[kind] = self._measured(house, kind, recipients)
        for figures in found.values():
            theirs_us = figures["us_per_recipient"]["total"]
            figures["rate_ratio"] = round(
                ours["recipients_per_s"] / figures["recipients_per_s"], 2
            )
            figures["cpu_ratio"] = round(
                ours["us_per_recipient"]["total"] / theirs_us, 2
            )
        _show(ours, found)
        return found

    def killed(self, recipients: int) -> dict[str, Any]:
        """Kill a worker of each in the middle; returns who was left how."""
        size = min(recipients, killing.MOST_RECIPIENTS)
        found = {"ours": killing.ours(self._chunk, size)}
        for kind in self._installed():
            with self._house(kind) as house:
                batch_id = house.fill(size)
                self._order(house, batch_id)
                killing.kill_midway(house, house.ours[kind], size)
                follow(house, batch_id, size, lambda _: None)
                found[kind] = killing.left(house, batch_id, size)
        killing.show_left(found)
        return found

    def _installed(self) -> Iterator[str]:
        for kind in COMMANDS:
            modules = f"import {kind}, redis, psycopg2, requests, orjson"
            done = subprocess.run(  # noqa: S603 - the Python that the caller names.
                [self._python, "-c", modules], check=False, capture_output=True
            )
            if done.returncode:
                self._say(
                    f"{kind} is left out: install it with"
                    f" {self._python} -m pip install 'batchsender[bench]'."
                )
            else:
                yield kind

    @contextmanager
    def _house(self, kind: str) -> Iterator[House]:
        with (
            tempfile.TemporaryDirectory(prefix="bench-") as folder,
            House(Path(folder) / "data", chunk=self._chunk, servers=_SERVERS) as house,
        ):
            producer = ("benchmarks.peers.producer", kind)
            house.start(self._spec(house, "producer", producer))
            house.start(self._spec(house, kind, COMMANDS[kind]))
            batch_id = house.fill(WARM_UP)
            self._order(house, batch_id)
            if follow(house, batch_id, WARM_UP, lambda _: None) < WARM_UP:
                raise StartError(
                    f"{kind} sends nothing:\n{house.ours[kind].log_tail()}"
                )
            yield house

    def _spec(self, house: House, name: str, module: tuple[str, ...]) -> ProcessSpec:
        as_format = {
            f"BENCH_{name.upper()}": template.replace("{{", "{").replace("}}", "}")
            for name, template in CONTENT.items()
        }
        return ProcessSpec(
            name=name,
            argv=(self._python, "-m", *module),
            log_path=house.folder / "logs" / f"{name}.log",
            ready=lambda: True,
            env={
                **house.urls,
                **as_format,
                # SQLAlchemy's way of naming the driver is unknown to the driver.
                "DATABASE_URL": house.urls["DATABASE_URL"].replace("+psycopg2", ""),
                "BENCH_SINK": house.sink_url,
            },
            cwd=_HOME,
        )

    def _order(self, house: House, batch_id: UUID) -> None:
        order = orjson.dumps({"batch": str(batch_id), "task": self._chunk})
        with redis.Redis.from_url(house.urls["DRAGONFLY_URL"]) as client:
            client.rpush("produce", order)

    def _measured(self, house: House, kind: str, recipients: int) -> dict[str, Any]:
        batch_id = house.fill(recipients)
        house.settle()
        with bar(kind, recipients) as told, Meter(house.processes) as meter:
            began = time.perf_counter()
            self._order(house, batch_id)
            if follow(house, batch_id, recipients, told) < recipients:
                raise StartError(
                    f"{kind} came to a standstill: {house.ours[kind].log_tail()}"
                )
            seconds = time.perf_counter() - began
            cpu_s = meter.cpu_s()
        ledger = house.read_sink()
        return {
            "recipients_per_s": round(recipients / seconds),
            "seconds": round(seconds, 2),
            "lost": len(ledger.lost(str(batch_id), recipients)),
            "repeated": len(ledger.repeated(str(batch_id))),
            "us_per_recipient": per_recipient_us(cpu_s, recipients),
        }


def follow(house: House, batch_id: UUID, recipients: int, told: Told) -> int:
    """Wait until all are recorded, or nothing moves; returns how many are."""
    through, moved_at = -1, time.monotonic()
    while through < recipients and time.monotonic() - moved_at < _STANDSTILL_S:
        now = house.batch(batch_id)["sent"]
        if now != through:
            through, moved_at = now, time.monotonic()
            told(through)
        for process in house.processes.values():
            if process.died:
                raise StartError(f"{process.name} ended:\n{process.log_tail()}")
        time.sleep(0.05)
    return through


def _show(ours: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> None:
    show(
        "Ours and theirs, on this machine in this call",
        ("", "recipients/s", "µs a recipient", "lost", "repeated", "ours by theirs"),
        [
            (
                name,
                figures["recipients_per_s"],
                figures["us_per_recipient"]["total"],
                figures["lost"],
                figures["repeated"],
                figures.get("rate_ratio", "-"),
            )
            for name, figures in {"ours": ours, **found}.items()
        ],
    )
