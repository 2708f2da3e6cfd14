"""Opening a dead letter's chunk again, for an operator's replay (rule 10)."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from models import bits
from models.chunk import BURIED_LIKE
from models.status import OUTCOMES

# Only those whom the burial itself made *failed*: nobody had called them, or every
# call of theirs was refused for now. Whoever was in doubt stays unknown, and whom an
# event proved sent meanwhile is sent. The fold is undone for exactly those who are
# open again, so that it can tell any outcome of theirs a second time.
_REOPEN = text(
    """
    with dead as (
        select c.batch_id, c.no, c.first, c.last, c.failed, c.errors
        from chunks c join batches b on b.id = c.batch_id
        where c.batch_id = :batch_id and c.no = :no
            and c.state = 'done' and c.dead
            and b.status in ('processing', 'paused', 'completed')
        for no key update of c, b
    ), people as (
        select r.seq, r.status, get_bit(dead.failed, r.seq - dead.first) = 1
            and coalesce(r.error, dead.errors ->> (r.seq - dead.first)::text)
                like :buried as buried
        from dead join recipients r on r.batch_id = dead.batch_id
            and r.seq between dead.first and dead.last
    ), again as (
        select string_agg(
                case when buried and status < 'sent' then '1' else '0' end, ''
                order by seq
            )::varbit as who,
            string_agg(
                case when buried and status >= 'sent' then '1' else '0' end, ''
                order by seq
            )::varbit as proven
        from people
    ), opened as (
        update chunks c
        set state = 'open', dead = false, crashes = 0, epoch = c.epoch + 1,
            sent = c.sent | again.proven,
            failed = c.failed & ~again.who & ~again.proven,
            errors = (
                select jsonb_object_agg(e.key, e.value)
                from jsonb_each(c.errors) e
                where get_bit(c.failed & again.who, e.key::int) = 0
            ),
            not_before = null, published_at = null, done_at = null,
            folded_at = null, logged_at = null
        from dead cross join again
        where c.batch_id = dead.batch_id and c.no = dead.no
            and bit_count(again.who) > 0
        returning c.first, c.last, c.sent, c.failed, c.unknown, c.suppressed,
            c.cancelled, again.who
    ), unfolded as (
        update recipients r set status = 'pending', error = null
        from opened
        where r.batch_id = :batch_id and r.seq between opened.first and opened.last
            and r.status = 'failed'
            and case when r.seq between opened.first and opened.last
                then get_bit(opened.who, r.seq - opened.first) = 1 end
        returning r.seq
    ), batch as (
        update batches b
        set status = case when b.status = 'completed' then 'processing'
                else b.status end,
            finished_at = null, expanded_at = null,
            failed = b.failed - (select count(*) from unfolded)
        from opened where b.id = :batch_id
    )
    select * from opened
    """
)


@dataclass(frozen=True, slots=True)
class Reopened:
    """A chunk that is open again.

    Attributes:
        first: The seq of its first recipient.
        size: How many recipients it has.
        open: How many of them are sent now.
        sets: Who has which outcome already: positions by its name.
    """

    first: int
    size: int
    open: int
    sets: Mapping[str, int]


def reopen_dead(
    connection: Connection, batch_id: str | UUID, no: int
) -> Reopened | None:
    """Open a dead chunk for those whom its burial left out; expansion publishes it.

    A completed batch goes on processing; a paused one waits to be resumed. None: the
    row is not dead (any more), its batch is cancelled or failed, or nobody in it was
    left out. A second time is such a case, until the chunk dies again.
    """
    row = (
        connection.execute(
            _REOPEN, {"batch_id": batch_id, "no": no, "buried": BURIED_LIKE}
        )
        .mappings()
        .first()
    )
    if row is None:
        return None
    return Reopened(
        first=row["first"],
        size=row["last"] - row["first"] + 1,
        open=row["who"].count("1"),
        sets={name.value: bits.from_bit_string(row[name]) for name in OUTCOMES},
    )
