"""`config create` and `config list`."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from cli.api import Api, Json
from cli.credentials import data_option, find_credentials, json_option
from models.errors import InvalidInputError


@click.group()
def config() -> None:
    """Make and list send configs: through which provider, and how fast."""


@config.command()
@click.argument("name")
@click.option("--url", required=True, help="Where the messages are posted to.")
@click.option(
    "--channel",
    type=click.Choice(["webhook", "email", "sms"]),
    default="webhook",
    show_default=True,
    help="What kind of address the recipients have.",
)
@click.option("--max-batch", type=click.IntRange(min=1), help="Messages in one call.")
@click.option(
    "--idempotency-keys",
    is_flag=True,
    help="The receiver keeps Idempotency-Key: a repeated call is no second sending.",
)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Per second.")
@click.option(
    "--burst", type=click.FloatRange(min=1), help="The most at once; needs --rate."
)
@click.option(
    "--policy",
    type=click.Choice(["at_most_once", "at_least_once"]),
    help="What to do about recipients whose call got no answer.",
)
@click.option(
    "--fallback", metavar="NAME", help="The config that sends while this one's fails."
)
@click.option("--secret", help="The secret that signs each call.")
@data_option
def create(
    name: str,
    url: str,
    channel: str,
    data_dir: Path,
    **options: str | float | None,
) -> None:
    """Make a send config that posts messages to a URL."""
    asked = custom_config(name, url, channel=channel, **options)
    made = Api(find_credentials(data_dir)).create_config(asked)
    click.echo(f"Send config {made['name']} is ready: send with --config {name}.")


def custom_config(
    name: str,
    url: str,
    *,
    channel: str = "webhook",
    max_batch: float | str | None = None,
    idempotency_keys: float | str | None = None,
    rate: float | str | None = None,
    burst: float | str | None = None,
    policy: float | str | None = None,
    secret: float | str | None = None,
    fallback: float | str | None = None,
) -> Json:
    """Return the body that creates a config of the provider `custom`.

    Raises:
        InvalidInputError: A burst without a rate.
    """
    if burst is not None and rate is None:
        raise InvalidInputError("--burst needs --rate: give both.", field="burst")
    settings = {"url": url, "maxBatch": max_batch, "idempotencyKeys": idempotency_keys}
    limit = {"perSecond": rate, "burst": burst}
    asked = {
        "name": name,
        "channel": channel,
        "provider": "custom",
        "settings": _given(settings),
        "credentials": _given({"secret": secret}),
        "rateLimit": _given(limit),
        "policy": policy,
        "fallback": fallback,
    }
    return {key: value for key, value in asked.items() if value not in (None, {})}


def _given(values: Json) -> Json:
    return {key: value for key, value in values.items() if value is not None}


@config.command("list")
@json_option
@data_option
def show(*, as_json: bool, data_dir: Path) -> None:
    """List the send configs."""
    found = Api(find_credentials(data_dir)).configs()
    if as_json:
        click.echo(json.dumps(found))
        return
    table = Table("name", "channel", "provider", "url", "per second", "policy")
    for name in ("fall-back", "held"):
        table.add_column(name)
    for one in found:
        table.add_row(
            one["name"],
            one["channel"],
            one["provider"],
            one["settings"].get("url", ""),
            str(one["rateLimit"]["perSecond"]),
            one["policy"],
            one["fallback"] or "",
            one["heldReason"] or "",
        )
    Console().print(table)
