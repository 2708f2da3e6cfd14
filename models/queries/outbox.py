"""Events that tenants subscribed to, noted with the change of state that they are.

Each row stands for many recipients. Of tenants without an enabled endpoint for an event
nothing is written, and no statement here looks at their recipients. Rows live until
`models.queries.deliveries` packs them, within seconds; they hold no address.
"""

from collections.abc import Sequence

import orjson
from sqlalchemy import Connection, text

from models.outgoing import Noted

_SOMEBODY_HEARS = text(
    "select exists (select from webhook_endpoints where state = 'enabled')"
)
_NOTE = text(
    """
    insert into outgoing_events (tenant_id, batch_id, event, seqs, details)
    select b.tenant_id, n.batch_id, n.event, array_agg(n.seq order by n.place),
        jsonb_agg(n.details order by n.place)
    from unnest(
        cast(:batch_ids as uuid[]), cast(:events as text[]), cast(:seqs as int[]),
        cast(:details as jsonb[])
    ) with ordinality as n(batch_id, event, seq, details, place)
    join batches b on b.id = n.batch_id
    where exists (
        select from webhook_endpoints e
        where e.tenant_id = b.tenant_id and e.state = 'enabled'
            and n.event = any(e.events)
    )
    group by b.tenant_id, n.batch_id, n.event
    """
)

#: For a statement that finishes batches, in a common table expression `finished` with
#: whole rows of `batches`.
NOTE_FINISHED = """
    insert into outgoing_events (tenant_id, batch_id, event, details)
    select f.tenant_id, f.id, 'batch.' || f.status, jsonb_build_array(
        jsonb_build_object(
            'name', f.name, 'recipients', f.recipients, 'sent', f.sent,
            'failed', f.failed, 'unknown', f.unknown, 'suppressed', f.suppressed,
            'cancelled', f.cancelled
        )
    )
    from finished f
    where not f.priority and exists (
        select from webhook_endpoints e
        where e.tenant_id = f.tenant_id and e.state = 'enabled'
            and 'batch.' || f.status = any(e.events)
    )
    """


def note_fold(*, outcome: str) -> str:
    """Return common table expressions that note what a fold is about to tell.

    The statement has a `due` with the ledger's rows to fold, and moves in the same
    snapshot whose status is below the outcome: whom an earlier fold has moved is not
    told a second time. Who was reported on before the fold has been sent all the same.
    Nobody subscribed: one look for each chunk.

    Args:
        outcome: The expression for the outcome of `r`, a recipient, in `due`.
    """
    return f"""heard as materialized (
        select due.*, wanted.events
        from due cross join lateral (
            select array_agg(distinct kind) as events
            from webhook_endpoints e cross join unnest(e.events) as kind
            where e.tenant_id = due.tenant_id and e.state = 'enabled'
                and starts_with(kind, 'message.')
        ) wanted
        where wanted.events is not null
    ), told as (
        select due.tenant_id, due.batch_id, due.no, r.seq,
            due.provider_ids, r.seq - due.first + 1 as place, due.errors,
            due.events, 'message.' || o.outcome as event
        from heard as due
        join recipients r on r.batch_id = due.batch_id
            and r.seq between due.first and due.last
        cross join lateral (select {outcome} as outcome) o
        where r.status < o.outcome
            or (o.outcome = 'sent' and r.status > 'sent' and due.reopened = 0)
    ), noted as (
        insert into outgoing_events (tenant_id, batch_id, event, seqs, details)
        select tenant_id, batch_id, event, array_agg(seq order by seq),
            jsonb_agg(
                jsonb_strip_nulls(jsonb_build_object(
                    'providerMessageId', provider_ids[place],
                    'reason', case when event in ('message.failed', 'message.unknown')
                        then errors -> (place - 1)::text end
                )) order by seq
            ) filter (where provider_ids is not null or errors is not null)
        from told where event = any(events)
        group by tenant_id, batch_id, no, event
        order by batch_id, no
    )"""


def note_events(connection: Connection, events: Sequence[Noted]) -> int:
    """Note what happened to recipients, in the transaction that moves them.

    Call it with what is new: a second call notes the events again, with the same ids.

    Args:
        connection: Of the transaction in which the change of state is made.
        events: Of any tenants. While nobody subscribed to anything, all that this
            costs is one small statement.

    Returns:
        How many rows of the outbox were written, each for one batch and event.
    """
    if not events or not connection.execute(_SOMEBODY_HEARS).scalar_one():
        return 0
    given = {
        "batch_ids": [one.batch_id for one in events],
        "events": [one.event for one in events],
        "seqs": [one.seq for one in events],
        "details": [orjson.dumps(one.stored).decode() for one in events],
    }
    return connection.execute(_NOTE, given).rowcount
