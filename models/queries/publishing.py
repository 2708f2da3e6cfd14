"""From a queued batch to published chunks: start, pages, marks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from models.plan import Plan
from models.prepared import Prepared

#: What a tenant reads while NATS is away or its disk is full.
QUEUE_TAKES_NOTHING = (
    "NATS takes no messages: start it, or give it room on its disk; "
    "then the batch goes on by itself."
)
# The status, and every row of the ledger, in one statement: a second leader finds
# no queued batch and changes nothing (rule 2).
_START = text(
    """
    with due as (
        select id from batches
        where status = 'queued'
            and (scheduled_at is null or scheduled_at <= clock_timestamp())
        order by queued_at limit 20
        for update skip locked
    ), started as (
        update batches b
        set status = 'processing', started_at = clock_timestamp()
        from due where b.id = due.id and b.status = 'queued'
        returning b.id, b.tenant_id, b.recipients, (b.sealed->>'chunk')::int as size
    ), grid as (
        insert into chunks (
            batch_id, tenant_id, no, first, last,
            sent, failed, unknown, suppressed, cancelled, doubt, late
        )
        select id, tenant_id, no, first, last,
            none, none, none, none, none, none, none
        from started
        cross join lateral generate_series(0, (recipients - 1) / size) as no
        cross join lateral (
            select no * size as first, least((no + 1) * size, recipients) - 1 as last
        ) as range
        cross join lateral (
            select repeat('0', last - first + 1)::varbit as none
        ) as bits
    )
    select id from started
    """
)
# Open, or claimed by somebody who is gone: what a message can bring forward.
_FREE = """c.state <> 'done' and (
                c.state = 'open' or c.lease_until is null
                or c.lease_until < clock_timestamp()
            )"""
_TO_EXPAND = text(
    f"""
    update batches b set expanded_at = clock_timestamp()
    from send_configs g
    where b.status = 'processing' and g.id = b.config_id and g.held_reason is null
        and not b.priority
        and (b.expanded_at is null or b.expanded_at
            < clock_timestamp() - make_interval(secs => :again_s))
        and exists (
            select 1 from chunks c
            where c.batch_id = b.id and c.published_at is null
                and {_FREE}
                and (c.not_before is null or c.not_before <= clock_timestamp())
        )
    returning b.id
    """
)
_PLAN = text(
    """
    select b.id, b.tenant_id, b.config_id, b.sealed, b.status, g.held_reason
    from batches b join send_configs g on g.id = b.config_id
    where b.id = :batch_id and b.sealed is not null
    """
)
_OUT = text(
    """
    select count(*) from chunks c join batches b on b.id = c.batch_id
    where b.config_id = :config_id and b.status = 'processing'
        and c.state <> 'done' and c.published_at is not null
    """
)
# A list may be new and its statistics old: `offset 0` looks each recipient up in the
# index, where the planner might read the whole list for each chunk.
_IS_LISTED = """exists (
                    select from suppressions s
                    where s.channel = :channel
                        and s.address = case when :channel = 'email'
                            then lower(r.address) else r.address end
                        and (s.tenant_id = :tenant_id or s.tenant_id is null)
                    offset 0
                )"""
_ANY_LISTED = """(
            exists (
                select from suppressions
                where tenant_id = :tenant_id and channel = :channel
            ) or exists (
                select from suppressions where tenant_id is null and channel = :channel
            )
        )"""
_PAGE = Prepared(
    "page",
    f"""
    select c.no, c.first, c.last, c.epoch, people.addresses, people.variables,
        case when lists.any then (
            select array_agg(r.seq - c.first)
            from recipients r
            where r.batch_id = c.batch_id and r.seq between c.first and c.last
                and {_IS_LISTED}
        ) end as suppressed
    from (
        select c.batch_id, c.tenant_id, c.no, c.first, c.last, c.epoch
        from chunks c join batches b on b.id = c.batch_id
        where c.batch_id = :batch_id and b.status = 'processing'
            and c.no > :after and c.published_at is null and {_FREE}
            and (c.not_before is null or c.not_before <= clock_timestamp())
        order by c.no limit :chunks
    ) c
    cross join (select {_ANY_LISTED} as any) lists
    cross join lateral (
        select json_agg(r.address order by r.seq)::text as addresses,
            json_agg(r.variables order by r.seq)::text as variables
        from recipients r
        where r.batch_id = c.batch_id and r.seq between c.first and c.last
    ) people
    """,
)
_RANGE = text(
    """
    select json_agg(address order by seq)::text as addresses,
        json_agg(variables order by seq)::text as variables
    from recipients
    where batch_id = :batch_id and seq between :first and :last
    """
)
_SUPPRESSED = text(
    f"""
    select r.seq from recipients r
    where r.batch_id = :batch_id and r.seq between :first and :last
        and {_ANY_LISTED} and {_IS_LISTED}
    """
)
_SUPPRESSED_SINCE = text(
    """
    select tenant_id, channel, address from suppressions
    where created_at > clock_timestamp() - make_interval(secs => :horizon_s)
    limit :most
    """
)
_MARK = text(
    """
    update chunks c set published_at = clock_timestamp()
    from unnest(cast(:nos as int[]), cast(:epochs as int[])) as p(no, epoch)
    where c.batch_id = :batch_id and c.no = p.no and c.epoch = p.epoch
        and c.published_at is null
    """
)
# Nobody was called, so everybody failed: the fold tells recipients and counters.
_NOTE = text(
    """
    update batches set reason = :reason
    where id = :batch_id and status = 'processing'
        and reason is distinct from :reason
    """
)
_FAIL = text(
    """
    with unsendable as (
        update batches b set status = 'failed', reason = :reason,
            finished_at = clock_timestamp()
        where b.id = :batch_id and b.status = 'processing'
            and not exists (
                select 1 from chunks c where c.batch_id = b.id and c.token > 0
            )
        returning b.id
    ), closed as (
        update chunks c set state = 'done', done_at = clock_timestamp(),
            failed = ~c.failed
        from unsendable where c.batch_id = unsendable.id
            and c.state = 'open' and c.token = 0
    )
    select count(*) from unsendable
    """
)


@dataclass(frozen=True, slots=True)
class PageChunk:
    """One open chunk, ready to be published.

    Attributes:
        no: Its number.
        first: The seq of its first recipient.
        size: How many recipients it has.
        epoch: The decision to publish that this copy belongs to.
        addresses: A JSON array of strings, by position.
        variables: A JSON array of objects, by position.
        suppressed: The positions of those who are on a suppression list.
    """

    no: int
    first: int
    size: int
    epoch: int
    addresses: str
    variables: str
    suppressed: Sequence[int] = ()


def start_due_batches(connection: Connection) -> list[UUID]:
    """Turn batches that are due from queued to processing, with all their chunks."""
    return list(connection.execute(_START).scalars())


def batches_to_expand(connection: Connection, *, again_s: float) -> list[UUID]:
    """Return the batches with something to publish, each at most every `again_s`."""
    return list(connection.execute(_TO_EXPAND, {"again_s": again_s}).scalars())


def sealed_plan(connection: Connection, batch_id: str) -> Plan | None:
    """Return a sealed batch's plan; none if there is no such batch."""
    row = connection.execute(_PLAN, {"batch_id": batch_id}).mappings().first()
    return Plan.of_row(dict(row)) if row else None


def chunks_out(connection: Connection, config_id: str) -> int:
    """Return how many chunks of a config are published and not yet done."""
    return int(connection.execute(_OUT, {"config_id": config_id}).scalar_one())


def next_page(
    connection: Connection, plan: Plan, *, chunks: int, after: int = -1
) -> list[PageChunk]:
    """Return a batch's open, unpublished chunks behind `after`, with their people."""
    rows = _PAGE.run(
        connection,
        {
            "batch_id": plan.batch_id,
            "tenant_id": plan.tenant_id,
            "channel": plan.channel,
            "chunks": chunks,
            "after": after,
        },
    )
    return [
        PageChunk(
            no=row.no,
            first=row.first,
            size=row.last - row.first + 1,
            epoch=row.epoch,
            addresses=row.addresses,
            variables=row.variables,
            suppressed=row.suppressed or (),
        )
        for row in rows
    ]


def recipients_range(
    connection: Connection, batch_id: str, *, first: int, size: int
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the addresses and variables of a range, by position."""
    row = connection.execute(
        _RANGE, {"batch_id": batch_id, "first": first, "last": first + size - 1}
    ).one()
    return orjson.loads(row.addresses), orjson.loads(row.variables)


def suppressed_seqs(
    connection: Connection, plan: Plan, first: int, last: int
) -> set[int]:
    """Return the seqs of a range whose addresses are on a suppression list."""
    scope = {"channel": plan.channel, "tenant_id": plan.tenant_id}
    found = connection.execute(
        _SUPPRESSED,
        {**scope, "batch_id": plan.batch_id, "first": first, "last": last},
    )
    return set(found.scalars())


def suppressed_since(
    connection: Connection, *, horizon_s: float, most: int
) -> set[tuple[str | None, str, str]]:
    """Return up to `most` that were suppressed lately: (tenant id, channel, address).

    A mail address is in lower case (see `models.recipients.listed_as`).
    """
    given = {"horizon_s": horizon_s, "most": most}
    rows = connection.execute(_SUPPRESSED_SINCE, given)
    return {
        (str(row.tenant_id) if row.tenant_id else None, row.channel, row.address)
        for row in rows
    }


def mark_published(
    connection: Connection, batch_id: str, published: list[tuple[int, int]]
) -> None:
    """Note that these (no, epoch) are durably in the queue."""
    connection.execute(
        _MARK,
        {
            "batch_id": batch_id,
            "nos": [no for no, _ in published],
            "epochs": [epoch for _, epoch in published],
        },
    )


def note_reason(connection: Connection, batch_id: str, reason: str | None) -> None:
    """Tell why a running batch does not move; none: it moves."""
    connection.execute(_NOTE, {"batch_id": batch_id, "reason": reason})


def fail_batch(connection: Connection, batch_id: str, reason: str) -> bool:
    """End a batch that cannot be sent at all; only while nobody was claimed."""
    found = connection.execute(_FAIL, {"batch_id": batch_id, "reason": reason})
    return bool(found.scalar_one())
