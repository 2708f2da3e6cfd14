"""`send`: a file of recipients becomes a batch and goes out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cli.api import Api, Json
from cli.credentials import data_option, find_credentials, json_option
from cli.deliveries import local_deliveries
from cli.endpoint import check_endpoint
from cli.parts import PART_BYTES, RecipientFile
from cli.progress import follow, upload_progress
from cli.report import Result, show_invalid, show_result, show_stations
from models.errors import BatchSenderError, InvalidInputError
from models.message import Content, Templates
from models.recipients import Format

#: How a batch ends that did what was asked.
_GOOD_ENDS = frozenset({"completed", "draft", "queued", "processing"})


@dataclass(frozen=True, slots=True)
class Order:
    """What to send to whom.

    Attributes:
        config: The send config's name.
        payload: The content: `subject`, `text`, `html`, `data`, ….
        scheduled_at: When, as ISO 8601; now when None.
        part_bytes: How much of the file one request carries.
    """

    file: RecipientFile
    config: str
    name: str
    payload: Mapping[str, Any]
    scheduled_at: str | None = None
    part_bytes: int = PART_BYTES


@dataclass(slots=True)
class _Upload:
    """What became of the rows of a file.

    Attributes:
        errors: `line` (of the whole file) and `reason` of the first invalid rows.
        invalid: How many rows were invalid.
    """

    errors: list[Json] = field(default_factory=list)
    invalid: int = 0


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--config", required=True, metavar="NAME", help="The send config.")
@click.option("--name", help="The batch's name; the file's when not given.")
@click.option("--subject", help="The subject, with {{ variables }} of the file.")
@click.option("--text", help="The plain text, with {{ variables }} of the file.")
@click.option("--html", help="The HTML text, with {{ variables }} of the file.")
@click.option(
    "--payload",
    "payload_file",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help="The whole content as a JSON object: subject, text, html, data, headers.",
)
@click.option(
    "--schedule", metavar="ISO", help="When to send, such as 2030-01-31T09:00."
)
@click.option(
    "--part-bytes",
    type=click.IntRange(min=1),
    default=PART_BYTES,
    show_default=True,
    help="How much is uploaded at once; less where connections break.",
)
@click.option("--wait", is_flag=True, help="Show the progress until it is over.")
@json_option
@data_option
def send(
    *,
    file: Path,
    config: str,
    name: str | None,
    payload_file: Path | None,
    schedule: str | None,
    part_bytes: int,
    wait: bool,
    as_json: bool,
    data_dir: Path,
    **texts: str | None,
) -> None:
    """Send a message to every recipient of a CSV or NDJSON file."""
    order = Order(
        file=RecipientFile.at(file),
        config=config,
        name=name or file.stem,
        payload=_payload(payload_file, texts),
        scheduled_at=_moment(schedule),
        part_bytes=part_bytes,
    )
    api = Api(find_credentials(data_dir))
    progress = Console(stderr=True)
    batch = send_order(api, order, progress)
    if wait:
        batch = follow(api, batch["id"], progress)
    result = Result.of(batch, local_deliveries(data_dir, api, batch))
    if as_json:
        click.echo(json.dumps(result.as_json()))
    else:
        _show(batch, result)
    check_end(batch)


def send_order(api: Api, order: Order, console: Console) -> Json:
    """Return the batch, queued.

    An unknown config creates nothing, nor does a text with a variable that no column
    has, nor a config at whose address nobody listens. Rows that are not taken are
    shown by line; the others are sent.
    """
    config = api.config(order.config)
    _check_variables(order, config.get("defaults", {}))
    if order.scheduled_at is None:
        check_endpoint(api.url, config)
    batch = api.create_batch(
        {"name": order.name, "sendConfig": order.config, "payload": order.payload}
    )
    upload = _uploaded(api, batch["id"], order, console)
    show_invalid(console, upload.errors, upload.invalid)
    return api.send(batch["id"], order.scheduled_at)


def _check_variables(order: Order, defaults: Json) -> None:
    templates = Templates.compile(Content.of({**defaults, **order.payload}))
    # In NDJSON a later row may have what the first ones lack: there the API decides.
    if order.file.format is Format.CSV:
        missing = templates.missing_everywhere(order.file.names())
        if missing:
            names = ", ".join(sorted(missing))
            raise InvalidInputError(
                f"The text names {names}, and {order.file.path} has no such column;"
                " correct one of them."
            )


def _uploaded(api: Api, batch_id: str, order: Order, console: Console) -> _Upload:
    upload, file = _Upload(), order.file
    with upload_progress(console) as progress:
        line = progress.add_task("uploading", total=file.path.stat().st_size)
        for part in file.parts(part_bytes=order.part_bytes):
            answer = api.upload(batch_id, part, file.content_type)
            upload.invalid += answer["invalid"]
            upload.errors += (
                {**error, "line": error["line"] + part.line_offset}
                for error in answer["errors"]
            )
            progress.advance(line, len(part.body))
    return upload


def _payload(path: Path | None, texts: Mapping[str, str | None]) -> Json:
    given = {name: text for name, text in texts.items() if text is not None}
    return {**_json_object(path), **given} if path else given


def _json_object(path: Path) -> Json:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read ({error.strerror}); name a file you may read."
        ) from error
    except ValueError as error:
        raise InvalidInputError(f"{path} is not JSON ({error}); correct it.") from error
    if not isinstance(found, dict):
        raise InvalidInputError(f"{path} must hold one JSON object.")
    return found


def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(
            f"--schedule {text} is no time; write it as 2030-01-31T09:00+01:00."
        ) from error
    # Without an offset it is the time on the caller's own clock.
    return moment.astimezone().isoformat()


def _show(batch: Json, result: Result) -> None:
    console = Console()
    show_result(console, batch, result)
    show_stations(console, batch)
    console.print(f"batchsender batch {batch['id']}", highlight=False)


def check_end(batch: Json) -> None:
    """Raise `BatchSenderError` when the batch ended otherwise than it should."""
    if batch["status"] not in _GOOD_ENDS:
        reason = batch["reason"] or "no reason is known"
        raise BatchSenderError(f"The batch ended {batch['status']}: {reason}.")
