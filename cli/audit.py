"""`audit`: who did what, of all tenants and of the system."""

import getpass
import json
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.table import Table

from analytics.audit import ActorKind
from analytics.audit_log import Actor, AuditLog, audit_page
from analytics.client import Client, connect
from cli.credentials import data_option, json_option
from cli.neighbours import servers_of
from models.database import Database
from models.errors import NotFoundError
from models.queries.tenants import tenant_named
from settings import Settings

_PAGE = 500


@click.command()
@click.option("--tenant", help="Only this tenant's, by name or id.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@json_option
@data_option
def audit(*, tenant: str | None, limit: int, as_json: bool, data_dir: Path) -> None:
    """List who did what to batches, configs, lists and credentials, newest first.

    A few seconds behind. With --json one entry a line.
    """
    settings = servers_of(data_dir)
    tenant_id = None if tenant is None else _tenant(settings, tenant)
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    with closing(connect(settings.clickhouse_url.get_secret_value())) as client:
        found = list(islice(_entries(client, tenant_id), limit))
    if as_json:
        for entry in found:
            click.echo(json.dumps(entry))
        return
    table = Table("at", "tenant", "who", "action", "what", "details")
    for one in found:
        table.add_row(
            one["at"][:19].replace("T", " "),
            one["tenantId"] or "",
            "{kind} {id}".format(**one["actor"]),
            one["action"],
            one["object"]["id"],
            ", ".join(f"{name} {value}" for name, value in one["details"].items()),
        )
    Console().print(table)


@contextmanager
def written_down(
    settings: Settings, action: str, kind: str
) -> Iterator[dict[str, Any]]:
    """Write down what an operator does by a command, also when it fails half way.

    Gives the entry's details, to be filled meanwhile. Fails closed: without room in
    SPOOL_DIR the command ends with an error, though what it did is done.
    """
    url = settings.clickhouse_url.get_secret_value()
    with (
        closing(connect(url)) as client,
        closing(
            AuditLog(
                client, settings.spool_dir, spool_cap_bytes=settings.spool_cap_bytes
            )
        ) as log,
    ):
        details: dict[str, Any] = {}
        try:
            yield details
        except BaseException:
            details["failed"] = True
            raise
        finally:
            who = Actor(ActorKind.USER, getpass.getuser())
            log.write(who.did(action, kind, "", **details))


def _entries(client: Client, tenant_id: UUID | None) -> Iterator[dict[str, Any]]:
    after: str | None = ""
    while after is not None:
        page, after = audit_page(client, tenant_id=tenant_id, after=after, most=_PAGE)
        yield from page


def _tenant(settings: Settings, named: str) -> UUID:
    try:
        return UUID(named)
    except ValueError:
        pass
    database = Database(settings.database_url.get_secret_value(), pool_size=1)
    with closing(database), database.statement() as connection:
        tenant_id = tenant_named(connection, named)
    if tenant_id is None:
        raise NotFoundError(f"There is no tenant {named!r}.")
    return tenant_id
