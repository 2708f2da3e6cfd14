"""What providers report later, moved into recipients and counters together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from models.addresses import listed_as
from models.report import Report
from models.status import RecipientStatus

# As in the fold: each recipient is found by its key, whatever the statistics say.
_BY_KEY = text(
    """
    select set_config(name, 'off', true)
    from unnest(array['enable_seqscan', 'enable_hashjoin', 'enable_mergejoin', 'jit'])
        as switched(name)
    """
)
# Two reports for one recipient are one step: to the higher status. A hard bounce is
# remembered beside the status, so that neither the order nor what outranks it matters
# to what is counted.
#
# Rows are locked in the order of their keys: recipients, then batches, then rates. So
# processors never wait for each other in a ring, nor for the fold, which does likewise.
# What a row was before is read from the locked row (`old`), so a step that somebody
# else made meanwhile is not counted twice.
_MOVE = text(
    """
    with given as (
        select * from unnest(
            cast(:batch_ids as uuid[]), cast(:seqs as int[]),
            cast(:statuses as recipient_status[]), cast(:message_ids as text[]),
            cast(:errors as text[]), cast(:hard as boolean[]),
            cast(:of_recipient as boolean[]), cast(:accounts as uuid[])
        ) with ordinality as g(
            batch_id, seq, status, message_id, error, hard, of_recipient, account, place
        )
    ), allowed as materialized (
        select g.*, b.tenant_id, b.config_id, c.channel, r.address
        from given g
        join batches b on b.id = g.batch_id
        join send_configs c on c.id = b.config_id
        join recipients r on r.batch_id = g.batch_id and r.seq = g.seq
        left join send_configs a on a.id = g.account
        where g.account is null or a.tenant_id = b.tenant_id
    ), news as (
        select batch_id, seq, max(status) as status, bool_or(hard) as hard,
            min(message_id) filter (where message_id <> '') as message_id,
            (array_agg(error order by status desc, hard desc, error desc))[1] as error
        from allowed where of_recipient group by batch_id, seq
    ), locked as materialized (
        select r.batch_id, r.seq, n.status, n.hard, n.message_id, n.error
        from news n join recipients r on r.batch_id = n.batch_id and r.seq = n.seq
        order by r.batch_id, r.seq
        for no key update of r
    ), moved as (
        update recipients r
        set status = greatest(r.status, n.status),
            hard_bounce = nullif(n.hard or coalesce(r.hard_bounce, false), false),
            provider_message_id = coalesce(r.provider_message_id, n.message_id),
            error = case
                when r.status < n.status or (r.status = n.status and n.hard)
                    then nullif(n.error, '')
                else r.error
            end
        from locked n
        where r.batch_id = n.batch_id and r.seq = n.seq
            and (r.status < n.status or (n.hard and r.hard_bounce is not true))
        returning r.batch_id, r.seq, old.status as before, new.status as after,
            (new.hard_bounce is true and old.hard_bounce is not true)::int as hard,
            (new.status = 'complained' and old.status < 'complained')::int as complained
    ), change as (
        select batch_id, sum(hard) as hard_bounces, sum(complained) as complaints,
            count(*) filter (where after >= 'sent' and before < 'sent') as sent,
            count(*) filter (where after = 'failed' and before < 'failed')
                - count(*) filter (where before = 'failed' and after > 'failed')
                as failed,
            -count(*) filter (where before = 'unknown' and after > before) as unknown,
            -count(*) filter (where before = 'suppressed' and after > before)
                as suppressed,
            -count(*) filter (where before = 'cancelled' and after > before)
                as cancelled
        from moved group by batch_id
    ), touched as materialized (
        select b.id, change.* from change join batches b on b.id = change.batch_id
        order by b.id for no key update of b
    ), totals as (
        update batches b
        set sent = b.sent + t.sent, failed = b.failed + t.failed,
            unknown = b.unknown + t.unknown, suppressed = b.suppressed + t.suppressed,
            cancelled = b.cancelled + t.cancelled
        from touched t where b.id = t.id
        returning b.config_id, t.sent, t.hard_bounces, t.complaints
    ), rated as (
        insert into config_rates (config_id, hour, sent, hard_bounces, complaints)
        select config_id, date_trunc('hour', clock_timestamp()),
            sum(sent), sum(hard_bounces), sum(complaints)
        from totals group by config_id
        having sum(sent) + sum(hard_bounces) + sum(complaints) > 0
        order by config_id
        on conflict (config_id, hour) do update
        set sent = config_rates.sent + excluded.sent,
            hard_bounces = config_rates.hard_bounces + excluded.hard_bounces,
            complaints = config_rates.complaints + excluded.complaints
    )
    select place - 1 as place, tenant_id, config_id, channel, address,
        batch_id, seq, null::recipient_status as before
    from allowed
    union all
    select null, null, null, null, null, batch_id, seq, before from moved
    """
)
# In order, so that two who add the same addresses do not wait for each other.
_SUPPRESS = text(
    """
    insert into suppressions (tenant_id, channel, address, reason, created_at)
    select tenant_id, channel, address, reason, clock_timestamp()
    from unnest(
        cast(:tenant_ids as uuid[]), cast(:channels as text[]),
        cast(:addresses as text[]), cast(:reasons as text[])
    ) as given(tenant_id, channel, address, reason)
    order by tenant_id, channel, address
    on conflict do nothing
    """
)


@dataclass(frozen=True, slots=True)
class Moved:
    """A report that was taken, whether or not its recipient moved.

    Attributes:
        place: The report's, in what was given.
        tenant_id: Whose recipient it is.
        config_id: By which config it was sent.
        channel: The config's.
        address: The recipient's.
        before: The status before, where the recipient moved.
    """

    place: int
    tenant_id: UUID
    config_id: UUID
    channel: str
    address: str
    before: RecipientStatus | None


@dataclass(frozen=True, slots=True)
class Unwanted:
    """An address that goes on a tenant's suppression list.

    Attributes:
        tenant_id: Whose list.
        channel: Of the list.
        address: As it was reported or sent to.
        reason: Why.
    """

    tenant_id: UUID
    channel: str
    address: str
    reason: str


def move_recipients(
    connection: Connection, reports: Sequence[tuple[Report, UUID | None]]
) -> list[Moved]:
    """Move recipients up, in one statement; counters and rates follow.

    The same reports again, in any order and any company, change nothing. A report of
    a recipient that is not there, or that its account may not speak of, is left out of
    the answer.

    Args:
        connection: In a transaction.
        reports: Each names its recipient, and comes with the config whose account
            reported: only batches of that config's tenant are moved. None is the
            platform's own account, which sends for all.
    """
    connection.execute(_BY_KEY)
    rows = connection.execute(
        _MOVE,
        {
            "batch_ids": [report.batch_id for report, _ in reports],
            "seqs": [report.seq for report, _ in reports],
            "statuses": [str(report.status) for report, _ in reports],
            "message_ids": [report.message_id for report, _ in reports],
            "errors": [report.error for report, _ in reports],
            "hard": [report.is_hard for report, _ in reports],
            "of_recipient": [report.is_of_recipient for report, _ in reports],
            "accounts": [account for _, account in reports],
        },
    )
    # Put together here: without hash joins Postgres would compare all with all.
    found = rows.all()
    before = {
        (row.batch_id, row.seq): RecipientStatus(row.before)
        for row in found
        if row.before is not None
    }
    return [
        Moved(
            row.place,
            row.tenant_id,
            row.config_id,
            row.channel,
            row.address,
            before.get((row.batch_id, row.seq)),
        )
        for row in found
        if row.place is not None
    ]


def suppress_reported(connection: Connection, unwanted: Iterable[Unwanted]) -> int:
    """Put addresses on their tenants' lists; who is there stays. Returns the new."""
    found = {
        (one.tenant_id, one.channel, listed_as(one.address, one.channel)): one.reason
        for one in unwanted
    }
    given = {
        "tenant_ids": [tenant_id for tenant_id, _, _ in found],
        "channels": [channel for _, channel, _ in found],
        "addresses": [address for _, _, address in found],
        "reasons": list(found.values()),
    }
    return connection.execute(_SUPPRESS, given).rowcount
