"""`demo`: the whole way once, on this machine, with made-up recipients."""

import csv
import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click
from rich.console import Console

from cli.api import Api, Json
from cli.configs import custom_config
from cli.credentials import data_option
from cli.deliveries import deliveries, is_local_sink
from cli.machine import Machine, running_machine
from cli.parts import RecipientFile
from cli.progress import follow
from cli.report import Result, show_result, show_stations
from cli.sending import Order, check_end, send_order
from cli.starting import started_machine
from models.errors import BatchSenderError

#: Far above what one machine does, so that the demo shows the machine's own speed.
_RATE_PER_S = 100_000
_HEADER = ("email", "name", "city", "code")
_NAMES = ("Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Radia", "Leslie")
_CITIES = ("Berlin", "Lisbon", "Nairobi", "Osaka", "Quito", "Tallinn", "Wellington")
_PAYLOAD = {
    "subject": "Hello {{ name }}",
    "text": "Dear {{ name }} in {{ city }}, your code is {{ code }}.",
}
_BROKEN = ("nobody.example.com", "", "two words@example.com", "someone@@example.com")


@click.command()
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="How many rows the file has, a few bad ones and duplicates among them.",
)
@data_option
def demo(*, rows: int, data_dir: Path) -> None:
    """Send a batch to made-up recipients, here, and show what became of each."""
    console = Console()
    with _machine(data_dir, console) as machine:
        batch, result = _sent(machine, rows, console)
        _show_next(console, machine, batch)
    click.echo(json.dumps(result.as_json(with_id=False)))
    check_end(batch)
    if result.lost or result.repeated:
        raise BatchSenderError(
            f"The sink missed {result.lost} messages and got {result.repeated} twice;"
            f" keep {data_dir} and report it."
        )


def _machine(data_dir: Path, console: Console) -> AbstractContextManager[Machine]:
    running = running_machine(data_dir)
    if running is not None:
        return nullcontext(running)
    console.print("Starting NATS, Valkey, PostgreSQL, ClickHouse and BatchSender …")
    return started_machine(data_dir)


def _sent(machine: Machine, rows: int, console: Console) -> tuple[Json, Result]:
    api = Api(machine.credentials)
    path = machine.data_dir / "demo.csv"
    write_recipients(path, rows)
    order = Order(
        file=RecipientFile.at(path),
        config=_config(api, machine),
        name=f"demo {time.strftime('%Y-%m-%d %H:%M:%S')}",
        payload=_PAYLOAD,
    )
    console.print(f"Sending {path} to the sink at {machine.url('sink')}")
    batch = follow(api, send_order(api, order, console)["id"], console)
    result = Result.of(batch, deliveries(machine.data_dir, batch["id"]))
    show_result(console, batch, result)
    show_stations(console, batch)
    return batch, result


def _config(api: Api, machine: Machine) -> str:
    """Return the name of a config for the sink here, made when there is none."""
    names = set()
    for config in api.configs():
        names.add(config["name"])
        url = config["settings"].get("url", "")
        if config["name"].startswith("demo") and is_local_sink(machine, url):
            return str(config["name"])
    # A config's address is for ever, the sink's port is not.
    name = "demo" if "demo" not in names else f"demo-{machine.ports['sink']}"
    asked = custom_config(
        name,
        f"{machine.url('sink')}/",
        channel="email",
        rate=_RATE_PER_S,
        burst=_RATE_PER_S,
    )
    return str(api.create_config(asked)["name"])


def write_recipients(path: Path, rows: int) -> None:
    """Write a CSV file of recipients, the same for the same number of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows(_rows(rows))


def _rows(rows: int) -> Iterator[tuple[str, ...]]:
    for number in range(rows):
        name = _NAMES[number % len(_NAMES)]
        address = f"{name.lower()}.{number}@example.com"
        if number % 2000 == 1233:
            address = _BROKEN[number // 2000 % len(_BROKEN)]
        elif number % 2500 == 1999:
            before = number - 1
            address = f"{_NAMES[before % len(_NAMES)].lower()}.{before}@example.com"
        # 7919 is prime, so that neighbours' codes look nothing like each other.
        code = f"{number * 7919 % 1_000_000:06}"
        yield address, name, _CITIES[number % len(_CITIES)], code


def _show_next(console: Console, machine: Machine, batch: Json) -> None:
    option = (
        "" if str(machine.data_dir) == ".batchsender" else f" --data {machine.data_dir}"
    )
    lines = (
        "Where to look next:",
        f"  batchsender up{option}    the API, at {machine.url('web')}",
        f"  batchsender batch {batch['id']}{option}",
        f"  batchsender recipients {batch['id']}{option}",
        f"  {machine.data_dir}    the data, and the log of each process in logs/",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
