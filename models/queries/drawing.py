"""What the ledger knows of outcomes, for the bitmaps that show them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, CursorResult, text

from models import bits
from models.status import OUTCOMES

# Three questions, each with its index: as one with `or` it reads every batch there is.
_COUNTED = text(
    f"""
    select id, finished_at is not null as finished, {", ".join(OUTCOMES)}
    from (
        select * from batches where status in ('processing', 'paused')
        union all
        select * from batches where status = 'cancelled' and finished_at is null
        union all
        select * from batches
        where finished_at > clock_timestamp() - make_interval(secs => :recent_s)
    ) b
    """
)
_FOLDED = text(
    f"""
    select b.id, b.finished_at is not null as finished,
        {", ".join(f"sum(bit_count(c.{name}))::int as {name}" for name in OUTCOMES)}
    from batches b join chunks c on c.batch_id = b.id
    where b.id = any(cast(:batch_ids as uuid[]))
        and c.state = 'done' and c.folded_at is not null
    group by b.id
    """
)
_ROWS = text(
    f"""
    select no, first, last - first + 1 as size, {", ".join(OUTCOMES)}
    from chunks
    where batch_id = :batch_id and no > :after
        and state = 'done' and folded_at is not null
    order by no limit :limit
    """
)


@dataclass(frozen=True, slots=True)
class Known:
    """How many recipients of a batch have each outcome, by its name."""

    batch_id: str
    finished: bool
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FoldedRow:
    """Who of a folded row has which outcome: positions by its name."""

    no: int
    first: int
    size: int
    sets: Mapping[str, int]


def counted(connection: Connection, *, recent_s: float) -> list[Known]:
    """Return the counters of batches that run, or were finished so lately.

    A row a batch, however large it is. While a batch runs they hold everybody whose row
    is folded, and perhaps more: who is folded anew is in them all the time.
    """
    return _known(connection.execute(_COUNTED, {"recent_s": recent_s}))


def folded_counts(connection: Connection, batch_ids: Sequence[str]) -> list[Known]:
    """Return what the folded rows of these batches hold; reads all of the rows."""
    return _known(connection.execute(_FOLDED, {"batch_ids": list(batch_ids)}))


def _known(rows: CursorResult[Any]) -> list[Known]:
    return [
        Known(
            str(row["id"]),
            row["finished"],
            {name.value: row[name] for name in OUTCOMES},
        )
        for row in rows.mappings()
    ]


def folded_rows(
    connection: Connection, batch_id: str, *, after: int, limit: int
) -> list[FoldedRow]:
    """Return a page of a batch's folded rows, in order."""
    rows = connection.execute(
        _ROWS, {"batch_id": batch_id, "after": after, "limit": limit}
    )
    return [
        FoldedRow(
            row["no"],
            row["first"],
            row["size"],
            {name.value: bits.from_bit_string(row[name]) for name in OUTCOMES},
        )
        for row in rows.mappings()
    ]
