"""`batches`, `batch`, `recipients`, and the three verbs that steer a batch."""

import csv
import json
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from cli.api import Api, Json
from cli.credentials import data_option, find_credentials, json_option
from cli.deliveries import local_deliveries
from cli.report import Result, show_result, show_stations
from models.status import RecipientStatus

_COLUMNS = ("seq", "address", "status", "providerMessageId", "error")


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@json_option
@data_option
def batches(*, limit: int, as_json: bool, data_dir: Path) -> None:
    """List the newest batches."""
    found = list(islice(_api(data_dir).batches(), limit))
    if as_json:
        click.echo(json.dumps(found))
        return
    table = Table("id", "name", "status", "created")
    for name in ("recipients", "sent", "failed", "unknown"):
        table.add_column(name, justify="right")
    for one in found:
        figures = (one["recipients"], *map(one["counts"].get, _SHOWN))
        table.add_row(
            one["id"],
            one["name"],
            one["status"],
            one["createdAt"][:19],
            *(f"{figure:,}" for figure in figures),
        )
    Console().print(table)


_SHOWN = ("sent", "failed", "unknown")


@click.command()
@click.argument("batch_id", metavar="ID")
@json_option
@data_option
def batch(batch_id: str, *, as_json: bool, data_dir: Path) -> None:
    """Show one batch: its figures, and the time at each station."""
    api = _api(data_dir)
    found = api.batch(batch_id)
    if as_json:
        click.echo(json.dumps(found))
        return
    console = Console()
    deliveries = local_deliveries(data_dir, api, found)
    show_result(console, found, Result.of(found, deliveries))
    show_stations(console, found)


@click.command()
@click.argument("batch_id", metavar="ID")
@click.option(
    "--status",
    type=click.Choice([status.value for status in RecipientStatus]),
    help="Only those of this status.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, header first.")
@data_option
def recipients(
    batch_id: str, *, status: str | None, as_csv: bool, data_dir: Path
) -> None:
    """Print what became of each recipient of a batch, one a line."""
    found = _api(data_dir).recipients(batch_id, status)
    rows = ([_text(one[name]) for name in _COLUMNS] for one in found)
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(rows)
    else:
        _print_columns(rows)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _print_columns(rows: Iterable[list[str]]) -> None:
    # A table would have to hold every row before it knew its widths.
    for seq, address, status, message_id, error in rows:
        line = f"{seq:>9}  {address:<32}  {status:<10}  {message_id}  {error}"
        click.echo(line.rstrip())


@click.command()
@click.argument("batch_id", metavar="ID")
@data_option
def pause(batch_id: str, data_dir: Path) -> None:
    """Stop a batch after the calls that have begun."""
    _change(data_dir, batch_id, "pause")


@click.command()
@click.argument("batch_id", metavar="ID")
@data_option
def resume(batch_id: str, data_dir: Path) -> None:
    """Let a paused batch go on."""
    _change(data_dir, batch_id, "resume")


@click.command()
@click.argument("batch_id", metavar="ID")
@data_option
def cancel(batch_id: str, data_dir: Path) -> None:
    """End a batch for good; whoever was not called yet is cancelled."""
    _change(data_dir, batch_id, "cancel")


def _change(data_dir: Path, batch_id: str, verb: str) -> None:
    changed: Json = _api(data_dir).change(batch_id, verb)
    click.echo(f"{changed['name']} is {changed['status']}.")


def _api(data_dir: Path) -> Api:
    return Api(find_credentials(data_dir))
