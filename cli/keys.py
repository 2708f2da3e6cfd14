"""`tenants` and `keys`: who may use this server; for its operator, by the database."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from cli.audit import written_down
from cli.credentials import data_option, json_option
from cli.neighbours import opened_database, servers_of
from models.errors import NotFoundError
from models.queries import api_keys
from models.queries.api_keys import SCOPES, TENANTS_OWN
from models.queries.retention import set_retention
from models.queries.tenants import all_tenants, create_tenant, tenant_named


@click.group()
def tenants() -> None:
    """Make and list tenants; needs DATABASE_URL, or a BatchSender that runs here."""


@tenants.command("create")
@click.argument("name")
@data_option
def create_one(name: str, *, data_dir: Path) -> None:
    """Make a tenant; `keys create` gives it a key to call the API with."""
    with (
        written_down(servers_of(data_dir), "tenant.created", "tenant") as told,
        opened_database(data_dir) as database,
        database.transaction() as connection,
    ):
        tenant_id = create_tenant(connection, name)
        told.update(name=name, id=str(tenant_id))
    click.echo(f"Tenant {name} is {tenant_id}: give it a key by `keys create {name}`.")


@tenants.command("list")
@json_option
@data_option
def list_all(*, as_json: bool, data_dir: Path) -> None:
    """List all tenants by name; with --json, one a line."""
    with opened_database(data_dir) as database, database.statement() as connection:
        rows = all_tenants(connection)
    _show(rows, ("name", "id", "created_at"), as_json=as_json)


@tenants.command()
@click.argument("name")
@click.argument("days", type=click.IntRange(min=1), required=False)
@data_option
def keep(name: str, *, days: int | None, data_dir: Path) -> None:
    """Keep a tenant's finished batches for so many days; without a number, for ever."""
    with opened_database(data_dir) as database, database.transaction() as connection:
        set_retention(connection, _tenant(connection, name), days)
    kept = "for ever" if days is None else f"for {days} days"
    click.echo(f"Finished batches of {name} are kept {kept}.")


@click.group()
def keys() -> None:
    """Make, list and revoke API keys; needs DATABASE_URL, or a BatchSender here."""


@keys.command()
@click.argument("tenant")
@click.option("--name", default="command", show_default=True, help="What it is for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    default=TENANTS_OWN,
    show_default=True,
    help="What it may do; several times for several.",
)
@click.option("--expires", type=click.DateTime(), help="Until when it is good, in UTC.")
@data_option
def create(
    tenant: str,
    *,
    name: str,
    scopes: tuple[str, ...],
    expires: datetime | None,
    data_dir: Path,
) -> None:
    """Make a key for a tenant and show it, this once."""
    with (
        written_down(servers_of(data_dir), "api_key.created", "api_key") as told,
        opened_database(data_dir) as database,
        database.transaction() as connection,
    ):
        told.update(tenant=tenant, name=name, scopes=[*scopes])
        key = api_keys.create_api_key(
            connection,
            _tenant(connection, tenant),
            name,
            scopes=scopes,
            expires_at=expires and expires.replace(tzinfo=UTC),
        )
    click.echo(key)


@keys.command("list")
@click.argument("tenant")
@json_option
@data_option
def list_keys(tenant: str, *, as_json: bool, data_dir: Path) -> None:
    """List a tenant's keys, the newest first; with --json, one a line."""
    with opened_database(data_dir) as database, database.statement() as connection:
        rows = api_keys.keys_of(connection, _tenant(connection, tenant))
    shown = ("prefix", "name", "scopes", "created_at", "expires_at", "revoked_at")
    _show(rows, shown, as_json=as_json)


@keys.command()
@click.argument("tenant")
@click.argument("prefix")
@data_option
def revoke(tenant: str, prefix: str, *, data_dir: Path) -> None:
    """Make the key `bs_PREFIX_…` useless from the next request on."""
    with (
        written_down(servers_of(data_dir), "api_key.revoked", "api_key") as told,
        opened_database(data_dir) as database,
        database.transaction() as connection,
    ):
        told.update(tenant=tenant, prefix=prefix)
        api_keys.revoke_api_key(connection, _tenant(connection, tenant), prefix)
    click.echo(f"The key bs_{prefix}_… is revoked.")


def _tenant(connection: Connection, name: str) -> UUID:
    found = tenant_named(connection, name)
    if found is None:
        raise NotFoundError(
            f"There is no tenant {name!r}; `batchsender tenants list` names them."
        )
    return found


def _show(rows: list[dict[str, Any]], names: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            click.echo(json.dumps({name: row[name] for name in names}, default=str))
        return
    table = Table(*names)
    for row in rows:
        table.add_row(*(_text(row[name]) for name in names))
    Console().print(table)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return ", ".join(value) if isinstance(value, list) else str(value or "")
