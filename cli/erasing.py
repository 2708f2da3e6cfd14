"""`erase`: one person's address, wherever it is kept."""

from contextlib import closing
from pathlib import Path
from uuid import UUID

import click
from sqlalchemy import Connection

from analytics import client as event_log
from analytics.erasing import erase as erase_events
from analytics.message_index import Place
from cli.audit import written_down
from cli.credentials import data_option
from cli.neighbours import opened_broker, opened_ledger, servers_of
from models.addresses import Channel, listed_as
from models.database import Database
from models.errors import ConflictError, NotFoundError
from models.queries import erasing
from models.queries.suppressions import SuppressionList, add_to_list, checked_address
from models.queries.tenants import tenant_named
from settings import Settings

_REASON = "Erased."


@click.command()
@click.argument("address")
@click.option(
    "--channel",
    type=click.Choice([str(channel) for channel in Channel]),
    default=str(Channel.EMAIL),
    show_default=True,
    help="What kind of address it is.",
)
@click.option("--tenant", help="Only this tenant's, by its name; else everybody's.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
def erase(
    address: str, *, channel: str, tenant: str | None, yes: bool, data_dir: Path
) -> None:
    """Erase a person's address and variables, and never send to it again.

    What is still being sent cannot be erased yet: then it says so, ends with 1, and
    is to be run again.
    """
    kind = Channel(channel)
    listed = listed_as(checked_address(address, channel), channel)
    if not yes:
        click.confirm("Erase it for good?", abort=True)
    settings = servers_of(data_dir)
    with (
        written_down(settings, "address.erased", "address") as told,
        opened_ledger(settings) as (database, _),
    ):
        told.update(channel=channel, tenant=tenant and str(tenant))
        with database.transaction() as connection:
            tenant_id = _tenant(connection, tenant)
            own = SuppressionList(tenant_id, channel)
            add_to_list(connection, own, [listed], [_REASON])
            placeholder = [erasing.PLACEHOLDERS[kind]]
            everybodys = SuppressionList(None, channel)
            add_to_list(connection, everybodys, placeholder, [_REASON])
        left = _erased(settings, database, kind, (tenant_id, listed))
    if left:
        raise ConflictError(
            f"{left} messages to this address are still under way, and nothing new is "
            "sent to it; run this again when their batches have ended."
        )
    click.echo("It is erased; it stays on the list of those whom nothing is sent to.")


def _tenant(connection: Connection, name: str | None) -> UUID | None:
    """Return the tenant that was named; none where everybody's are meant."""
    tenant_id = None if name is None else tenant_named(connection, name)
    if name is not None and tenant_id is None:
        raise NotFoundError(f"There is no tenant {name}.")
    return tenant_id


def _erased(
    settings: Settings,
    database: Database,
    channel: Channel,
    whose: tuple[UUID | None, str],
) -> int:
    """Erase what can be, and return how many messages are still under way.

    Postgres comes last: it alone knows where the rest is, should this be cut off.
    """
    tenant_id, listed = whose
    with database.statement() as connection:
        found = erasing.traces(connection, tenant_id, channel, listed)
    ended = [trace for trace in found if not trace.under_way]
    client = event_log.connect(settings.clickhouse_url.get_secret_value())
    with closing(client):
        erase_events(client, [Place(t.tenant_id, t.batch_id, t.seq) for t in ended])
    if len(ended) == len(found):
        # A message holds many people: while one is needed it is not taken away.
        with opened_broker(settings) as broker:
            broker.erase(listed)
    with database.transaction() as connection:
        erasing.erase(connection, channel, ended)
    return len(found) - len(ended)
