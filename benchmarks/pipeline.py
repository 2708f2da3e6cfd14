"""Measure the whole way of a message; the last line is one JSON object.

`python -m benchmarks.pipeline --recipients 500000 --chunk 500` starts real servers
and processes in a temporary directory. Exit code 1: somebody was lost or repeated.
"""

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.house import House
from benchmarks.meters import machine
from benchmarks.peers import race
from benchmarks.priority import beside_a_batch
from benchmarks.run import Run, send, warm_up
from benchmarks.singles import one_a_call
from benchmarks.steady import steady
from benchmarks.writes import one_update_each, written
from models.errors import BatchSenderError

#: What `--memory` compares.
_SIZES = (100_000, 1_000_000)


def say(line: str) -> None:
    """Tell people something beside the results."""
    print(line, file=sys.stderr, flush=True)


def measured(recipients: int, chunk: int, *, writes: bool) -> tuple[Run, Any]:
    """Return one run in a house of its own, and what Postgres wrote for it."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        House(Path(folder) / "data", chunk=chunk) as house,
    ):
        house.start_senders()
        warm_up(house)
        run = send(house, recipients, f"{recipients:,} recipients")
        if not writes:
            return run, None
        # Their sessions tell Postgres what they did when they end.
        for name in ("worker", "scheduler"):
            house.ours[name].stop()
        with house.database.statement() as connection:
            ours = written(connection).since(run.written_before, recipients)
        ours["transactions"] -= run.asked
        single = one_update_each(house.database, house.stack.postgres, recipients)
        return run, {**ours, "one_update_each": single}


def one_run(recipients: int, chunk: int) -> dict[str, Any]:
    """Measure one batch, and print its tables."""
    run, writes = measured(recipients, chunk, writes=True)
    told = report.figures(run, chunk)
    report.show_run(told)
    report.show_writes(writes, writes["one_update_each"])
    return {**told, "postgres": writes}


def two_sizes(chunk: int) -> dict[str, Any]:
    """Measure a small and a large batch, and compare the memory they take."""
    runs = {size: measured(size, chunk, writes=False)[0] for size in _SIZES}
    growth = report.show_memory({size: run.memory for size, run in runs.items()})
    return {
        "recipients": list(runs),
        "recipients_per_s": [round(run.per_s) for run in runs.values()],
        "lost": sum(run.lost for run in runs.values()),
        "repeated": sum(run.repeated for run in runs.values()),
        "rss_mb": {
            name: [round(run.memory[name].largest, 1) for run in runs.values()]
            for name in growth
        },
        "rss_ratio": growth,
    }


def for_some_time(recipients: int, chunk: int, seconds: float) -> dict[str, Any]:
    """Keep the rate for so long."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        House(Path(folder) / "data", chunk=chunk) as house,
    ):
        house.start_senders()
        warm_up(house)
        return steady(house, recipients, seconds, say)


def single_messages(recipients: int, chunk: int) -> dict[str, Any]:
    """Measure single messages beside a batch."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        House(Path(folder) / "data", chunk=chunk) as house,
    ):
        house.start_senders()
        return beside_a_batch(house, recipients)


def one_recipient_a_call(recipients: int, chunk: int) -> dict[str, Any]:
    """Measure a provider that takes one recipient a call and answers slowly."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        House(Path(folder) / "data", chunk=chunk, one_by_one=True) as house,
    ):
        return one_a_call(house, recipients)


def chosen() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--recipients", type=int, help="500,000 by default; 10,000 with --singles"
    )
    parser.add_argument("--chunk", type=int, default=500)
    parser.add_argument("--seconds", type=float, help="send batch after batch so long")
    parser.add_argument(
        "--memory", action="store_true", help="compare 100,000 and 1,000,000"
    )
    parser.add_argument(
        "--priority", action="store_true", help="send single messages beside a batch"
    )
    parser.add_argument(
        "--singles", action="store_true", help="one recipient a call, answered slowly"
    )
    parser.add_argument(
        "--peers", type=int, default=0, help="1: Celery and Dramatiq on Redis, too"
    )
    parser.add_argument(
        "--kill", action="store_true", help="with --peers: kill a worker of each, too"
    )
    parser.add_argument(
        "--peers-python", default=sys.executable, help="which has celery installed"
    )
    return parser.parse_args()


def result(options: argparse.Namespace) -> dict[str, Any]:
    """Measure what was asked for."""
    recipients = options.recipients or (10_000 if options.singles else 500_000)
    if options.singles:
        return one_recipient_a_call(recipients, options.chunk)
    if options.memory:
        return two_sizes(options.chunk)
    if options.priority:
        return single_messages(recipients, options.chunk)
    if options.seconds:
        return for_some_time(recipients, options.chunk, options.seconds)
    found = one_run(recipients, options.chunk)
    if options.peers:
        peers = race.Peers(options.peers_python, options.chunk, say)
        found["peers"] = peers.run(recipients, found)
        if options.kill:
            found["killed"] = peers.killed(recipients)
    return found


def main() -> int:
    """Measure, print, and tell by the exit code whether the books balance."""
    options = chosen()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    before = machine()
    try:
        found = result(options)
    except BatchSenderError as error:
        say(str(error))
        return 1
    print(json.dumps({**found, "machine": before}))
    return 1 if found["lost"] or found["repeated"] else 0


if __name__ == "__main__":
    sys.exit(main())
