"""`endpoints`: where the tenant hears of its events (docs/outgoing-webhooks.md)."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Column, Table

from cli.api import Api
from cli.credentials import data_option, find_credentials, json_option
from models.outgoing import EVENTS


@click.group()
def endpoints() -> None:
    """Make, list and try the webhook endpoints that hear of your events."""


@endpoints.command()
@click.argument("url")
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice(EVENTS),
    metavar="EVENT",
    help="What it shall hear of, such as message.bounced; several times. All without.",
)
@json_option
@data_option
def create(url: str, *, events: tuple[str, ...], as_json: bool, data_dir: Path) -> None:
    """Make an endpoint; its signing secret is shown now and never again."""
    asked = {"url": url, "events": list(events or EVENTS)}
    made = Api(find_credentials(data_dir)).create_endpoint(asked)
    if as_json:
        click.echo(json.dumps(made))
    else:
        click.echo(f"Endpoint {made['id']} is ready. Its secret is {made['secret']}")


@endpoints.command("list")
@json_option
@data_option
def show(*, as_json: bool, data_dir: Path) -> None:
    """List the endpoints."""
    found = Api(find_credentials(data_dir)).endpoints()
    if as_json:
        click.echo(json.dumps(found))
        return
    table = Table(Column("id", no_wrap=True), "url", "events", "state", "reason")
    for one in found:
        table.add_row(
            one["id"],
            one["url"],
            ", ".join(one["events"]),
            one["state"],
            one["disabledReason"] or "",
        )
    Console().print(table)


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@json_option
@data_option
def deliveries(endpoint_id: str, *, as_json: bool, data_dir: Path) -> None:
    """List the latest deliveries to an endpoint."""
    found = Api(find_credentials(data_dir)).deliveries(endpoint_id)
    if as_json:
        click.echo(json.dumps(found))
        return
    table = Table(
        Column("id", no_wrap=True), "made", "events", "state", "attempts", "answer"
    )
    for one in found:
        said = one["lastError"] or one["lastStatus"] or ""
        table.add_row(
            one["id"],
            one["createdAt"],
            str(one["events"]),
            one["state"],
            str(one["attempts"]),
            str(said),
        )
    Console().print(table)


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@data_option
def test(endpoint_id: str, *, data_dir: Path) -> None:
    """Deliver an event endpoint.test; `deliveries` says what became of it."""
    made = Api(find_credentials(data_dir)).test_endpoint(endpoint_id)
    click.echo(f"Delivery {made['id']} is on its way.")


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@click.option(
    "--since", required=True, metavar="TIME", help="Such as 2026-01-31T09:00:00Z."
)
@click.option("--all", "everything", is_flag=True, help="Also what was delivered.")
@data_option
def replay(endpoint_id: str, *, since: str, everything: bool, data_dir: Path) -> None:
    """Deliver once more, by the same ids, what failed since a time."""
    asked = {"since": since, "all": everything}
    done = Api(find_credentials(data_dir)).replay(endpoint_id, asked)
    click.echo(f"{done['replayed']:,} deliveries are on their way again.")


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@data_option
def delete(endpoint_id: str, *, data_dir: Path) -> None:
    """Delete an endpoint and what is kept of its deliveries."""
    Api(find_credentials(data_dir)).delete_endpoint(endpoint_id)
    click.echo("It is deleted.")
