"""Single messages: each is a batch of one with its own queue.

Its rows are committed first and published then, so a message that was taken is never
lost: what is left to publish is a query, as it is for batches.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from models.addresses import listed_as
from models.errors import NotFoundError
from models.jobs import SendMessage
from models.plan import Plan

#: Whoever has committed a message publishes it itself within this time.
OWN_TIME_S = 2.0

# All rows or none, in one round trip. It is *processing* from the beginning: nobody
# has to find it first.
_TAKE = text(
    """
    with taken as (
        insert into batches (
            id, tenant_id, config_id, name, status, payload, sealed, priority,
            rows, recipients, variable_names, queued_at, started_at
        )
        values (
            :batch_id, :tenant_id, :config_id, :name, 'processing', :payload, :sealed,
            true, 1, 1, :names, clock_timestamp(), clock_timestamp()
        )
        on conflict (id) do nothing
        returning id, tenant_id
    ), person as (
        insert into recipients (batch_id, seq, address, variables)
        select id, 0, :address, cast(:variables as json) from taken
    ), ledger as (
        insert into chunks (
            batch_id, tenant_id, no, first, last,
            sent, failed, unknown, suppressed, cancelled, doubt, late
        )
        select id, tenant_id, 0, 0, 0, '0', '0', '0', '0', '0', '0', '0' from taken
    )
    select exists (
        select from suppressions
        where channel = :channel and address = :listed_as
            and (tenant_id = :tenant_id or tenant_id is null)
    ) as suppressed
    from taken
    """
)
# From the few messages under way to their rows, whatever the planner believes about
# the ledger: `offset 0` keeps it from reading that first.
_LEFT = text(
    """
    select b.id as batch_id, b.tenant_id, c.epoch
    from batches b
    join send_configs g on g.id = b.config_id and g.held_reason is null
    cross join lateral (
        select epoch from chunks
        where batch_id = b.id and no = 0
            and published_at is null and state <> 'done'
            and (
                state = 'open' or lease_until is null
                or lease_until < clock_timestamp()
            )
            and (not_before is null or not_before <= clock_timestamp())
        offset 0
    ) c
    where b.priority and b.status = 'processing'
        and b.started_at < clock_timestamp() - make_interval(secs => :own_time_s)
    order by b.started_at limit :most
    """
)
_MARK = text(
    """
    update chunks c set published_at = clock_timestamp()
    from unnest(cast(:ids as uuid[]), cast(:epochs as int[])) as p(batch_id, epoch)
    where c.batch_id = p.batch_id and c.no = 0 and c.epoch = p.epoch
        and c.published_at is null
    """
)
_SHOWN = text(
    """
    select b.id, b.created_at, b.finished_at, b.reason, g.name as config_name,
        g.held_reason, b.status as batch_status, r.address, r.status,
        r.provider_message_id, r.error
    from batches b
    join send_configs g on g.id = b.config_id
    join recipients r on r.batch_id = b.id and r.seq = 0
    where b.id = :batch_id and b.tenant_id = :tenant_id and b.priority
    """
)


def take_message(
    connection: Connection,
    plan: Plan,
    payload: Mapping[str, Any],
    *,
    address: str,
    variables: str,
) -> SendMessage | None:
    """Write all rows of a message with the plan's id; none when that id is known.

    Args:
        connection: Once it has committed, the job may be published.
        plan: As sealed for a batch of one.
        payload: The content as it was given.
        address: As `models.recipients.read` gives it.
        variables: A JSON object, as text.
    """
    values = orjson.loads(variables)
    row = connection.execute(
        _TAKE,
        {
            "batch_id": plan.batch_id,
            "tenant_id": plan.tenant_id,
            "config_id": plan.config_id,
            "name": "Message",
            "payload": orjson.dumps(payload).decode(),
            "sealed": orjson.dumps(plan.sealed()).decode(),
            "names": sorted(values),
            "channel": plan.channel,
            "address": address,
            "listed_as": listed_as(address, plan.channel),
            "variables": variables,
        },
    ).first()
    if row is None:
        return None
    return SendMessage(
        batch_id=plan.batch_id,
        tenant_id=plan.tenant_id,
        address=address,
        variables=values,
        suppressed=row.suppressed,
    )


def unpublished_messages(
    connection: Connection, *, most: int, own_time_s: float = OWN_TIME_S
) -> list[SendMessage]:
    """Return messages that nobody has published, the oldest first, by name alone."""
    rows = connection.execute(_LEFT, {"most": most, "own_time_s": own_time_s})
    return [
        SendMessage(
            batch_id=str(row.batch_id), tenant_id=str(row.tenant_id), epoch=row.epoch
        )
        for row in rows
    ]


def mark_messages_published(
    connection: Connection, jobs: Sequence[SendMessage]
) -> None:
    """Note that these are durably in the queue."""
    given = {
        "ids": [job.batch_id for job in jobs],
        "epochs": [job.epoch for job in jobs],
    }
    connection.execute(_MARK, given)


def message_by_id(
    connection: Connection, tenant_id: UUID, message_id: UUID
) -> dict[str, Any]:
    """Return a message with its config's name and what became of it.

    Raises `NotFoundError` for another tenant's message.
    """
    given = {"batch_id": message_id, "tenant_id": tenant_id}
    row = connection.execute(_SHOWN, given).mappings().first()
    if row is None:
        raise NotFoundError(f"There is no message {message_id}.")
    return dict(row)
