"""`limits`: the operator's own limits, in place of the defaults."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from cli.api import Api, Json
from cli.credentials import data_option, find_credentials, json_option


@click.group()
def limits() -> None:
    """Show and change limits; the API key needs the scope `admin`.

    A SCOPE is `system`, `provider/NAME`, `tenant/ID` or `config/ID`. A change holds
    in all workers within seconds.
    """


@limits.command("list")
@json_option
@data_option
def list_all(*, as_json: bool, data_dir: Path) -> None:
    """List what was changed; with --json, one a line."""
    rows = Api(find_credentials(data_dir)).limits()
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    table = Table("scope", "per second", "burst", "reason", "since")
    for row in rows:
        burst = row["burst"] or ""
        table.add_row(
            row["scope"],
            f"{row['perSecond']:g}",
            str(burst),
            row["reason"],
            row["changedAt"],
        )
    Console().print(table)


@limits.command()
@click.argument("scope")
@json_option
@data_option
def show(scope: str, *, as_json: bool, data_dir: Path) -> None:
    """Show one limit and where it comes from."""
    _tell(Api(find_credentials(data_dir)).limit(scope), as_json=as_json)


@limits.command("set")
@click.argument("scope")
@click.argument("per_second", type=click.FloatRange(min=0, min_open=True))
@click.option("--burst", type=click.FloatRange(min=1), help="The most at once.")
@click.option("--reason", default="", help="Why, for who looks later.")
@json_option
@data_option
def set_one(
    scope: str,
    per_second: float,
    *,
    burst: float | None,
    reason: str,
    as_json: bool,
    data_dir: Path,
) -> None:
    """Replace a limit by so many PER_SECOND."""
    asked = {"perSecond": per_second, "burst": burst, "reason": reason}
    found = Api(find_credentials(data_dir)).set_limit(scope, asked)
    _tell(found, as_json=as_json)


@limits.command()
@click.argument("scope")
@data_option
def reset(scope: str, *, data_dir: Path) -> None:
    """Let a limit be its default again."""
    Api(find_credentials(data_dir)).reset_limit(scope)
    click.echo(f"The limit of {scope} is its default again.")


def _tell(found: Json, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found))
    elif found["perSecond"] is None:
        click.echo("Nothing limits it here.")
    else:
        burst = f", {found['burst']:g} at once" if found["burst"] else ""
        click.echo(f"{found['perSecond']:g} a second{burst} ({found['source']}).")
