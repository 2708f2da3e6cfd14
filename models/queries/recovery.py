"""Taking up again what stopped moving, by evidence and never by age (rules 8, 10)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

_NOW = text("select clock_timestamp()")
# Single messages have one queue for all tenants, which is counted under ''.
_COUNTED_UNDER = "case when b.priority then '' else c.tenant_id::text end"
# Whatever was published before the queue was counted, and is unfinished after it was
# counted, was stored while it was counted: else its message is gone.
_PUBLISHED = text(
    f"""
    select {_COUNTED_UNDER} as queue, count(*) as chunks
    from chunks c join batches b on b.id = c.batch_id
    where c.state <> 'done' and c.published_at < :before
    group by 1
    """
)
_REPUBLISH = text(
    f"""
    update chunks c
    set epoch = c.epoch + 1, published_at = null
    from batches b
    where b.id = c.batch_id and {_COUNTED_UNDER} = :queue
        and b.status in ('processing', 'cancelled')
        and c.state <> 'done' and c.published_at is not null
        and (c.lease_until is null or c.lease_until < clock_timestamp())
    """
)
_STUCK = text(
    f"""
    select b.id, {_COUNTED_UNDER.replace("c.", "b.")} as queue
    from batches b join send_configs g on g.id = b.config_id
    where b.status = 'processing' and g.held_reason is null
        and b.started_at < clock_timestamp() - make_interval(secs => :after_s)
        and exists (
            select 1 from chunks c where c.batch_id = b.id and c.state <> 'done'
        )
        and not exists (
            select 1 from chunks c
            where c.batch_id = b.id
                and greatest(
                    c.lease_until, c.not_before, c.done_at, c.published_at
                ) > clock_timestamp() - make_interval(secs => :after_s)
        )
    """
)
# Only who is still unknown in `recipients`: an event may have told us meanwhile.
_REOPEN = text(
    """
    with due as (
        select c.batch_id, c.no, c.first, c.last, c.unknown
        from chunks c join batches b on b.id = c.batch_id
        where c.state = 'done' and bit_count(c.unknown) > 0
            and c.folded_at is not null
            and c.reopened < :reopens
            and c.done_at < clock_timestamp() - make_interval(secs => :window_s)
            and b.status in ('processing', 'paused')
            and b.sealed->>'policy' = 'at_least_once'
        order by c.batch_id, c.no limit 1000
        for no key update of c skip locked
    ), again as (
        select due.batch_id, due.no,
            string_agg(
                case when r.status = 'unknown'
                    and get_bit(due.unknown, r.seq - due.first) = 1
                then '1' else '0' end, '' order by r.seq
            )::varbit as who,
            string_agg(
                case when r.status >= 'sent'
                    and get_bit(due.unknown, r.seq - due.first) = 1
                then '1' else '0' end, '' order by r.seq
            )::varbit as proven
        from due join recipients r on r.batch_id = due.batch_id
            and r.seq between due.first and due.last
        group by due.batch_id, due.no
    )
    update chunks c
    set state = case when bit_count(again.who) > 0 then 'open'
            else 'done' end::chunk_state,
        unknown = c.unknown & ~c.unknown,
        sent = c.sent | again.proven,
        failed = c.failed | (c.unknown & ~again.who & ~again.proven),
        reopened = c.reopened + 1, epoch = c.epoch + 1,
        published_at = case when bit_count(again.who) > 0 then null
            else c.published_at end,
        done_at = case when bit_count(again.who) > 0 then null else c.done_at end,
        folded_at = case when bit_count(again.who) > 0 then null
            else c.folded_at end,
        logged_at = case when bit_count(again.who) > 0 then null
            else c.logged_at end
    from again where c.batch_id = again.batch_id and c.no = again.no
    """
)


def now(connection: Connection) -> datetime:
    """Return Postgres' time: the one that judges leases."""
    return connection.execute(_NOW).scalar_one()  # type: ignore[no-any-return]  # A timestamptz.


def published_unfinished(connection: Connection, *, before: datetime) -> dict[str, int]:
    """Return, by tenant, how many messages the queue should at least hold.

    Under `""` how many the queue of single messages should.
    """
    rows = connection.execute(_PUBLISHED, {"before": before})
    return {row.queue: row.chunks for row in rows}


def republish(connection: Connection, tenant_id: str) -> int:
    """Let a tenant's unfinished chunks be published anew; those held are left.

    `""` lets all tenants' single messages be.
    """
    return connection.execute(_REPUBLISH, {"queue": tenant_id}).rowcount


def reopen_unknown(connection: Connection, *, window_s: float, reopens: int) -> int:
    """Reopen those who stayed unknown for the window, where the policy says so."""
    return connection.execute(
        _REOPEN, {"window_s": window_s, "reopens": reopens}
    ).rowcount


def stuck_batches(connection: Connection, *, after_s: float) -> list[tuple[UUID, str]]:
    """Return (batch, tenant) where nothing moved and nothing is being waited for.

    The tenant of a single message is `""`.
    """
    return [
        (row.id, row.queue) for row in connection.execute(_STUCK, {"after_s": after_s})
    ]
