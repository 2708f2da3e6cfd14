"""`send-one`: a single message, before all batches."""

import json
import time
from pathlib import Path

import click

from cli.api import Api, Json
from cli.credentials import data_option, find_credentials, json_option
from models.errors import BatchSenderError, InvalidInputError

#: How a message stands that is still on its way.
_UNDECIDED = frozenset({"pending", "queued", "sending"})
_GOOD_ENDS = frozenset({"sent", "delivered", "opened", "clicked"})
_ASK_EVERY_S = 0.2
_MOST_S = 60.0


@click.command()
@click.argument("address")
@click.option("--config", required=True, metavar="NAME", help="The send config.")
@click.option("--subject", help="The subject, with {{ variables }}.")
@click.option("--text", help="The plain text, with {{ variables }}.")
@click.option("--html", help="The HTML text, with {{ variables }}.")
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="A variable.")
@click.option("--key", help="An idempotency key: the same key is sent once.")
@click.option("--wait", is_flag=True, help="Return when it was sent, or was not.")
@json_option
@data_option
def send_one(
    address: str,
    *,
    config: str,
    given: tuple[str, ...],
    key: str | None,
    wait: bool,
    as_json: bool,
    data_dir: Path,
    **texts: str | None,
) -> None:
    """Send one message; it does not wait behind any batch."""
    message = {
        "to": address,
        "sendConfig": config,
        "payload": {name: text for name, text in texts.items() if text is not None},
        "variables": dict(map(_variable, given)),
    }
    api = Api(find_credentials(data_dir))
    taken = api.send_one(message, key)
    if wait:
        taken = _decided(api, taken["id"])
    if as_json:
        click.echo(json.dumps(taken))
    else:
        click.echo(f"Message {taken['id']} is {taken.get('status', 'on its way')}.")
    if wait and taken["status"] not in _GOOD_ENDS:
        raise BatchSenderError(taken["error"] or f"The message is {taken['status']}.")


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidInputError(f"--set {text} has no value; write NAME=VALUE.")
    return name, value


def _decided(api: Api, message_id: str) -> Json:
    deadline = time.monotonic() + _MOST_S
    while (found := api.message(message_id))["status"] in _UNDECIDED:
        if time.monotonic() > deadline:
            raise BatchSenderError(
                f"Message {message_id} is {found['status']} after {_MOST_S:.0f} s:"
                f" {found['reason'] or 'is a worker running?'}"
            )
        time.sleep(_ASK_EVERY_S)
    return found
