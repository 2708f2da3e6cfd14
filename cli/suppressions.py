"""`suppressions`: addresses that nothing is sent to, a tenant's or everybody's."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from cli.api import Api, Json
from cli.audit import written_down
from cli.credentials import data_option, find_credentials, json_option
from cli.neighbours import opened_database, servers_of
from cli.parts import Part, RecipientFile
from cli.report import show_invalid
from models.addresses import Channel
from models.queries import suppressions as lists
from models.queries.suppressions import SuppressionList
from models.queries.uploads import ERRORS_SHOWN
from models.recipients import Format, read

_PAGE = 1000
_channel_option: Callable[..., Any] = click.option(
    "--channel",
    type=click.Choice([str(channel) for channel in Channel]),
    default=str(Channel.EMAIL),
    show_default=True,
    help="Which of the lists.",
)
_global_option: Callable[..., Any] = click.option(
    "--global",
    "everybody",
    is_flag=True,
    help="The list that holds for every tenant; needs DATABASE_URL.",
)


@click.group()
def suppressions() -> None:
    """Add, import, remove and list addresses that nothing is sent to."""


@suppressions.command()
@click.argument("addresses", nargs=-1, required=True)
@click.option("--reason", default="Asked for.", show_default=True)
@_channel_option
@_global_option
@data_option
def add(
    addresses: tuple[str, ...],
    *,
    reason: str,
    channel: str,
    everybody: bool,
    data_dir: Path,
) -> None:
    """Put addresses on the list."""
    rows = [{"address": one, "reason": reason} for one in addresses]
    body = b"\n".join(map(orjson.dumps, rows))
    done = _taken(
        [Part(1, body, 0)], Format.NDJSON, (channel, everybody), data_dir=data_dir
    )
    _tell(done)


@suppressions.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@_channel_option
@_global_option
@json_option
@data_option
def import_(
    file: Path, *, channel: str, everybody: bool, as_json: bool, data_dir: Path
) -> None:
    """Put the addresses of a CSV or NDJSON file on the list.

    A column `reason` is kept. The same file again changes nothing.
    """
    found = RecipientFile.at(file)
    done = _taken(found.parts(), found.format, (channel, everybody), data_dir=data_dir)
    if as_json:
        click.echo(json.dumps(done))
    else:
        _tell(done)


@suppressions.command()
@click.argument("addresses", nargs=-1, required=True)
@_channel_option
@_global_option
@data_option
def remove(
    addresses: tuple[str, ...], *, channel: str, everybody: bool, data_dir: Path
) -> None:
    """Take addresses off the list, up to the first that is not on it."""
    if everybody:
        which = SuppressionList(None, channel)
        with (
            opened_database(data_dir) as database,
            written_down(
                servers_of(data_dir), "suppressions.removed", "global_suppressions"
            ) as told,
            database.statement() as connection,
        ):
            told.update(channel=channel, removed=len(addresses))
            for address in addresses:
                lists.remove_from_list(connection, which, address)
    else:
        api = Api(find_credentials(data_dir))
        for address in addresses:
            api.unsuppress(channel, address)
    click.echo(f"{len(addresses)} off the list.")


@suppressions.command("list")
@_channel_option
@_global_option
@json_option
@data_option
def show(*, channel: str, everybody: bool, as_json: bool, data_dir: Path) -> None:
    """List the addresses; with --json, one a line."""
    rows = (
        _global_rows(channel, data_dir) if everybody else _own_rows(channel, data_dir)
    )
    if as_json:
        for row in rows:
            click.echo(orjson.dumps(row).decode())
        return
    table = Table("address", "reason", "since")
    for row in rows:
        table.add_row(row["address"], row["reason"], str(row["createdAt"]))
    Console().print(table)


def _own_rows(channel: str, data_dir: Path) -> Iterator[Json]:
    return Api(find_credentials(data_dir)).suppressions(channel)


def _global_rows(channel: str, data_dir: Path) -> Iterator[Json]:
    which, after = SuppressionList(None, channel), ""
    with opened_database(data_dir) as database:
        while True:
            with database.statement() as connection:
                page = lists.list_page(connection, which, after=after, limit=_PAGE)
            for row in page:
                yield {
                    "address": row["address"],
                    "reason": row["reason"],
                    "createdAt": row["created_at"].isoformat(),
                }
            if len(page) < _PAGE:
                return
            after = page[-1]["address"]


def _taken(
    parts: Iterator[Part] | list[Part],
    upload_format: Format,
    which: tuple[str, bool],
    *,
    data_dir: Path,
) -> Json:
    """Return what became of all parts; a bad row's line is the file's."""
    channel, everybody = which
    total: Json = {"rows": 0, "added": 0, "known": 0, "invalid": 0, "errors": []}
    take = _to_everybody if everybody else _to_own
    with take(channel, upload_format, data_dir) as taking:
        for part in parts:
            done = taking(part)
            for name in ("rows", "added", "known", "invalid"):
                total[name] += done[name]
            shown = done["errors"][: ERRORS_SHOWN - len(total["errors"])]
            total["errors"] += [
                {**error, "line": error["line"] + part.line_offset} for error in shown
            ]
    return total


@contextmanager
def _to_own(
    channel: str, upload_format: Format, data_dir: Path
) -> Iterator[Callable[[Part], Json]]:
    api = Api(find_credentials(data_dir))
    yield lambda part: api.suppress(channel, part, upload_format)


@contextmanager
def _to_everybody(
    channel: str, upload_format: Format, data_dir: Path
) -> Iterator[Callable[[Part], Json]]:
    with (
        opened_database(data_dir) as database,
        written_down(
            servers_of(data_dir), "suppressions.added", "global_suppressions"
        ) as told,
    ):
        told.update(channel=channel, added=0)

        def taking(part: Part) -> Json:
            blocks = read(
                [part.body], upload_format=upload_format, channel=Channel(channel)
            )
            with database.transaction() as connection:
                which = SuppressionList(None, channel)
                done = lists.import_to_list(connection, which, blocks).as_json()
            told["added"] += done["added"]
            return done

        yield taking


def _tell(done: Json) -> None:
    click.echo(
        f"{done['added']:,} added, {done['known']:,} on the list before,"
        f" {done['invalid']:,} invalid."
    )
    show_invalid(Console(stderr=True), done["errors"], done["invalid"])
