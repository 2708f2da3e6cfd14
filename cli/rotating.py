"""`credentials rotate`: what is stored under an old key is stored under the new one."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

import click

from cli.audit import written_down
from cli.credentials import data_option, json_option
from cli.neighbours import servers_of
from models.credentials import check_keys, resealed
from models.database import Database
from models.errors import BatchSenderError, InvalidInputError
from models.queries.accounts import credentials_page, reseal_credentials
from models.queries.endpoints import reseal_secrets, secrets_page

#: What is sealed: how it is read, and how it is kept under another key.
_KINDS = (
    (credentials_page, reseal_credentials),
    (secrets_page, reseal_secrets),
)


@dataclass(slots=True)
class _Rotation:
    """What became of the stored credentials.

    Attributes:
        checked: How many there are.
        rotated: How many are under the first key only now.
        unreadable: How many no key opens; they stay as they are.
    """

    checked: int = 0
    rotated: int = 0
    unreadable: int = 0


@click.group()
def credentials() -> None:
    """Look after the tenants' stored credentials, which are never shown."""


@credentials.command()
@json_option
@data_option
def rotate(*, as_json: bool, data_dir: Path) -> None:
    """Encrypt all credentials by the first key of CREDENTIALS_KEY.

    Put the new key in front of the old one, separated by a comma, in every process'
    environment; restart them; run this; then the old key may go. A second time does
    nothing, and sending goes on meanwhile.
    """
    settings = servers_of(data_dir)
    keys = settings.credentials_key.get_secret_value()
    database = Database(settings.database_url.get_secret_value(), pool_size=1)
    with (
        closing(database),
        written_down(settings, "credentials.rotated", "credentials") as told,
    ):
        done = _rotated(database, keys)
        told.update(asdict(done))
    if as_json:
        click.echo(json.dumps(asdict(done)))
    else:
        click.echo(f"{done.checked} credentials, {done.rotated} encrypted anew.")
    if done.unreadable:
        raise BatchSenderError(
            f"{done.unreadable} credentials open with none of the keys: add the key "
            "that they were stored under."
        )


def _rotated(database: Database, keys: str) -> _Rotation:
    # A key that is missing or malformed shall not look like unreadable credentials.
    check_keys(keys)
    done = _Rotation()
    for page_of, reseal in _KINDS:
        _rotate(database, keys, done, _stored(database, page_of), reseal)
    return done


def _rotate(
    database: Database,
    keys: str,
    done: _Rotation,
    stored: Iterator[tuple[UUID, bytes]],
    reseal: Callable[..., bool],
) -> None:
    for sealed_id, before in stored:
        done.checked += 1
        try:
            sealed = resealed(before, keys)
        except InvalidInputError:
            done.unreadable += 1
            continue
        if sealed is not None:
            with database.transaction() as connection:
                done.rotated += reseal(
                    connection, sealed_id, before=before, sealed=sealed
                )


def _stored(
    database: Database, page_of: Callable[..., list[tuple[UUID, bytes]]]
) -> Iterator[tuple[UUID, bytes]]:
    after: UUID | None = None
    while True:
        with database.statement() as connection:
            page = page_of(connection, after=after)
        if not page:
            return
        yield from page
        after = page[-1][0]
