"""Folding the ledger's done rows into recipients and counters, and finishing batches.

The fold reads the ledger's own row, so it needs no other server; records in Dragonfly
only help rows whose holder is gone (docs/decisions).
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from models.queries.outbox import NOTE_FINISHED, note_fold

# Planners have been wrong about the size of a fold once too often: each recipient is
# found by its key, whatever the statistics say today.
_BY_KEY = (
    "set local enable_seqscan = off",
    "set local enable_hashjoin = off",
    "set local enable_mergejoin = off",
    "set local jit = off",
)
# Inside a case nothing is evaluated too early: no bit is asked of somebody outside.
_OUTCOME = """case
                when r.seq not between due.first and due.last then null
                when get_bit(due.sent, r.seq - due.first) = 1 then 'sent'
                when get_bit(due.failed, r.seq - due.first) = 1 then 'failed'
                when get_bit(due.unknown, r.seq - due.first) = 1 then 'unknown'
                when get_bit(due.suppressed, r.seq - due.first) = 1
                    then 'suppressed'
                else 'cancelled'
            end::recipient_status"""
_ERROR = f"""case when {_OUTCOME} in ('failed', 'unknown')
                then due.errors ->> (r.seq - due.first)::text
            end"""
# Counters move by what each row's status was and is, read in the one statement that
# moves it: early events and second folds are counted once. A chunk is a range of the
# key, read in one go; only provider ids are matched one by one, because each subscript
# would walk their array from its begin.
_FOLD = text(
    f"""
    with due as materialized (
        select batch_id, no, tenant_id, first, last,
            sent, failed, unknown, suppressed, cancelled, provider_ids, errors,
            reopened
        from chunks
        where state = 'done' and folded_at is null
        order by batch_id, no limit :chunks
        for no key update skip locked
    ), {note_fold(outcome=_OUTCOME)}, moved_by_range as (
        update recipients r
        set status = {_OUTCOME}, error = {_ERROR}
        from due
        where due.provider_ids is null and r.batch_id = due.batch_id
            and r.seq between due.first and due.last and r.status < {_OUTCOME}
        returning r.batch_id, old.status as before, new.status as after
    ), moved_one_by_one as (
        update recipients r
        set status = {_OUTCOME}, error = {_ERROR},
            provider_message_id = coalesce(item.id, r.provider_message_id)
        from due
        cross join lateral rows from (
            generate_series(due.first, due.last), unnest(due.provider_ids)
        ) as item(seq, id)
        where due.provider_ids is not null and r.batch_id = due.batch_id
            and r.seq = item.seq and r.status < {_OUTCOME}
        returning r.batch_id, old.status as before, new.status as after
    ), moved as (
        select * from moved_by_range union all select * from moved_one_by_one
    ), counted as (
        select batch_id, before, after, count(*) as n from moved group by 1, 2, 3
    ), change as (
        select batch_id,
            coalesce(sum(n) filter (where after >= 'sent'), 0)
                - coalesce(sum(n) filter (where before >= 'sent'), 0) as sent,
            coalesce(sum(n) filter (where after = 'failed'), 0)
                - coalesce(sum(n) filter (where before = 'failed'), 0) as failed,
            coalesce(sum(n) filter (where after = 'unknown'), 0)
                - coalesce(sum(n) filter (where before = 'unknown'), 0) as unknown,
            coalesce(sum(n) filter (where after = 'suppressed'), 0)
                - coalesce(sum(n) filter (where before = 'suppressed'), 0)
                as suppressed,
            coalesce(sum(n) filter (where after = 'cancelled'), 0)
                - coalesce(sum(n) filter (where before = 'cancelled'), 0) as cancelled
        from counted group by batch_id order by batch_id
    ), totals as (
        update batches b
        set sent = b.sent + change.sent,
            failed = b.failed + change.failed,
            unknown = b.unknown + change.unknown,
            suppressed = b.suppressed + change.suppressed,
            cancelled = b.cancelled + change.cancelled
        from change where b.id = change.batch_id
        returning b.config_id, change.sent
    ), rated as (
        insert into config_rates (config_id, hour, sent)
        select config_id, date_trunc('hour', clock_timestamp()), sum(sent)
        from totals group by config_id having sum(sent) <> 0 order by config_id
        on conflict (config_id, hour)
            do update set sent = config_rates.sent + excluded.sent
    )
    update chunks c set folded_at = clock_timestamp(), logged_at = null
    from due where c.batch_id = due.batch_id and c.no = due.no
    returning c.batch_id, c.no, c.token
    """
)
# Rules 9 and 10: no row open, claimed or unfolded, and nobody unknown who is still
# to be tried again.
_COMPLETE = text(
    f"""
    with finished as (
        update batches b
        set status =
                case when b.status = 'cancelled' then b.status else 'completed' end,
            finished_at = clock_timestamp()
        where (
                b.status in ('processing', 'paused')
                or (b.status = 'cancelled' and b.finished_at is null)
            )
            and b.started_at is not null
            and not exists (
                select 1 from chunks c
                where c.batch_id = b.id and (c.state <> 'done' or c.folded_at is null)
            )
            and not (
                b.status <> 'cancelled'
                and b.sealed->>'policy' = 'at_least_once'
                and b.unknown > 0
                and exists (
                    select 1 from chunks c
                    where c.batch_id = b.id and bit_count(c.unknown) > 0
                        and c.reopened < :reopens
                )
            )
        returning b.*
    ), noted as ({NOTE_FINISHED})
    select id from finished
    """
)
_TO_LOG = text(
    """
    select c.batch_id, c.tenant_id, b.config_id, c.no, c.first, c.last, c.token,
        least(coalesce(c.published_at, b.started_at), c.done_at) as queued_at,
        c.done_at, c.folded_at,
        c.sent, c.failed, c.unknown, c.suppressed, c.cancelled,
        c.provider_ids, c.errors,
        case when b.priority then '' else b.name end as name
    from chunks c join batches b on b.id = c.batch_id
    where (c.batch_id, c.no) in (
        select w.batch_id, w.no
        from (
            select u.batch_id, u.no,
                sum(u.last - u.first + 1) over (order by u.folded_at, u.batch_id, u.no)
                    as recipients
            from (
                select batch_id, no, first, last, folded_at from chunks
                where folded_at is not null and logged_at is null
                order by folded_at limit 5000
            ) u
        ) w
        where w.recipients <= :recipients
    )
    """
)
_WAITING_TO_LOG = text(
    """
    select coalesce(sum(c.last - c.first + 1), 0) as recipients,
        coalesce(
            extract(epoch from clock_timestamp() - min(c.folded_at)), 0
        )::float as oldest_s,
        count(*) as chunks,
        coalesce(bool_or(b.finished_at is not null), false) as finished
    from (
        select batch_id, first, last, folded_at from chunks
        where folded_at is not null and logged_at is null
        order by folded_at limit 10000
    ) c join batches b on b.id = c.batch_id
    """
)
# A row that was folded again meanwhile has another `folded_at` and is logged again.
_LOGGED = text(
    """
    update chunks c set logged_at = clock_timestamp()
    from unnest(
        cast(:batch_ids as uuid[]), cast(:nos as int[]),
        cast(:folded as timestamptz[])
    ) as l(batch_id, no, folded_at)
    where c.batch_id = l.batch_id and c.no = l.no and c.folded_at = l.folded_at
    """
)
_CLAIMED_OVER = text(
    """
    select c.batch_id, c.no, c.token from chunks c
    where c.state = 'claimed'
        and c.lease_until < clock_timestamp() - make_interval(secs => :margin_s)
    order by c.lease_until limit 500
    """
)
_STATES = text(
    """
    select no, token, state, folded_at is not null as folded,
        last - first + 1 as size
    from chunks where batch_id = :batch_id and no = any(:nos)
    """
)


@dataclass(frozen=True, slots=True)
class Folded:
    """A chunk that was folded: its record in Dragonfly is needed no more."""

    batch_id: str
    no: int
    token: int


@dataclass(frozen=True, slots=True)
class WaitingToLog:
    """How much the event log is behind.

    Attributes:
        recipients: In folded chunks that were not logged yet.
        oldest_s: Seconds since the oldest of them was folded.
        chunks: How many chunks they are; counted up to 10,000.
        finished: One of their batches is finished: its tenant looks now.
    """

    recipients: int
    oldest_s: float
    chunks: int
    finished: bool


def fold(connection: Connection, *, chunks: int) -> list[Folded]:
    """Fold up to so many done chunks; a second fold of a row changes nothing.

    Two at once share the work: each skips the rows that the other has locked.
    """
    for setting in _BY_KEY:
        connection.exec_driver_sql(setting)
    rows = connection.execute(_FOLD, {"chunks": chunks})
    return [Folded(str(row.batch_id), row.no, row.token) for row in rows]


def complete_batches(connection: Connection, *, reopens: int) -> list[str]:
    """Finish the batches that have nothing left to do; returns their ids."""
    rows = connection.execute(_COMPLETE, {"reopens": reopens})
    return [str(row.id) for row in rows]


def waiting_to_log(connection: Connection) -> WaitingToLog:
    """Return how much was folded and not logged yet."""
    row = connection.execute(_WAITING_TO_LOG).one()
    return WaitingToLog(int(row.recipients), row.oldest_s, row.chunks, row.finished)


def chunks_to_log(connection: Connection, *, recipients: int) -> list[dict[str, Any]]:
    """Return folded rows for the event log, the oldest, of so many recipients.

    Bits are text, position 0 first.
    """
    rows = connection.execute(_TO_LOG, {"recipients": recipients})
    return [dict(row) for row in rows.mappings()]


def mark_logged(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Note that the event log holds these rows as they were read."""
    connection.execute(
        _LOGGED,
        {
            "batch_ids": [row["batch_id"] for row in rows],
            "nos": [row["no"] for row in rows],
            "folded": [row["folded_at"] for row in rows],
        },
    )


def claims_over(
    connection: Connection, *, margin_s: float
) -> list[tuple[str, int, int]]:
    """Return claimed rows whose lease ended by itself, as (batch, no, token)."""
    rows = connection.execute(_CLAIMED_OVER, {"margin_s": margin_s})
    return [(str(row.batch_id), row.no, row.token) for row in rows]


def chunk_states(
    connection: Connection, batch_id: str, nos: list[int]
) -> dict[int, dict[str, Any]]:
    """Return token, state, folded and size of these chunks, by number."""
    rows = connection.execute(_STATES, {"batch_id": batch_id, "nos": nos})
    return {row["no"]: dict(row) for row in rows.mappings()}
