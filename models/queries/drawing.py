"""What the ledger knows of outcomes, for the bitmaps that show them."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from models import bits
from models.status import OUTCOMES

_COUNTS = text(
    f"""
    select b.id, b.finished_at is not null as finished,
        {", ".join(f"sum(bit_count(c.{name}))::int as {name}" for name in OUTCOMES)}
    from batches b join chunks c on c.batch_id = b.id
    where c.state = 'done' and c.folded_at is not null
        and (
            b.status in ('processing', 'paused')
            or (b.status = 'cancelled' and b.finished_at is null)
            or b.finished_at > clock_timestamp() - make_interval(secs => :recent_s)
        )
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
    """How many recipients of a batch's folded rows have each outcome, by name."""

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


def folded_counts(connection: Connection, *, recent_s: float) -> list[Known]:
    """Return the counts of batches that run, or were finished so lately."""
    return [
        Known(
            str(row["id"]),
            row["finished"],
            {name.value: row[name] for name in OUTCOMES},
        )
        for row in connection.execute(_COUNTS, {"recent_s": recent_s}).mappings()
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
