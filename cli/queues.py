"""`queues`: what waits, what is worked on, and how fast it moves."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table

from brokers import JetStreamBroker, QueueFigures, dispatch
from cli.credentials import data_option, json_option
from cli.neighbours import opened_broker, servers_of

_FIGURES = (
    "ready",
    "in_flight",
    "delayed",
    "dead",
    "tenants",
    "oldest_s",
    "in_per_s",
    "out_per_s",
)


@click.command()
@click.option("--watch", is_flag=True, help="Go on until interrupted.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Over how long rates are measured.",
)
@json_option
@data_option
def queues(*, watch: bool, every_s: float, as_json: bool, data_dir: Path) -> None:
    """Show each queue: what waits, is delayed, in flight or dead, and its rates.

    With --watch and --json, one line a look.
    """
    with opened_broker(servers_of(data_dir)) as broker:
        looks = _looks(broker, every_s)
        if as_json:
            for look in looks:
                click.echo(json.dumps(look))
                if not watch:
                    return
        elif watch:
            _watch(looks)
        else:
            Console().print(_table(next(looks)))


def _watch(looks: Iterator[list[dict[str, Any]]]) -> None:
    with Live(_table([]), auto_refresh=False) as live:
        for look in looks:
            live.update(_table(look), refresh=True)


def _looks(broker: JetStreamBroker, every_s: float) -> Iterator[list[dict[str, Any]]]:
    """Yield the queues' figures every so often, each with its rates since the last."""
    names = [route.queue for route in dispatch.routes()]
    before, then = [broker.figures(name) for name in names], time.monotonic()
    while True:
        time.sleep(every_s)
        found, now = [broker.figures(name) for name in names], time.monotonic()
        pairs = zip(before, found, strict=True)
        yield [_figures(old, new, now - then) for old, new in pairs]
        before, then = found, now


def _figures(
    before: QueueFigures, found: QueueFigures, seconds: float
) -> dict[str, Any]:
    came, went = found.rates_since(before, seconds)
    return {
        "queue": found.queue,
        "ready": found.ready,
        "in_flight": found.in_flight,
        "delayed": found.delayed,
        "dead": found.dead,
        "tenants": found.tenants,
        "oldest_s": round(found.oldest_s, 3),
        "in_per_s": round(came, 1),
        "out_per_s": round(went, 1),
    }


def _table(look: list[dict[str, Any]]) -> Table:
    # So narrow that it fits into 80 columns.
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("queue", no_wrap=True)
    for name in _FIGURES:
        title = name.replace("_per_s", "/s").replace("_", " ")
        table.add_column(title, justify="right")
    for one in look:
        table.add_row(one["queue"], *(f"{one[name]:,.0f}" for name in _FIGURES))
    return table
