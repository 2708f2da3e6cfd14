"""A draft, and recipients on their way into it, part by part.

A part is taken as a whole or not at all, and once: the same part again, also at the
same time, gets the stored answer and changes nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from typing import Any
from uuid import UUID

import orjson
from psycopg2 import DatabaseError, DataError, OperationalError
from sqlalchemy import Connection, insert, text

from models.errors import (
    ConflictError,
    InvalidInputError,
    NeighbourUnavailableError,
)
from models.queries.control import locked_batch
from models.recipients import Block
from models.status import BatchStatus
from models.tables import batches

#: How many bad rows an answer names; the others are only counted.
ERRORS_SHOWN = 100
#: The part number of the recipients that came with the batch itself.
INLINE_PART = -1

_INCOMING = """
create temporary table incoming (
    line integer not null, address text not null, variables json not null
) on commit drop
"""
_ANSWER = text(
    "select answer from upload_parts where batch_id = :batch_id and part = :part"
)
# Sorting by the hash first compares integers, not texts. The search for earlier
# recipients is one look into the index for each new row: `offset 0` keeps the planner
# from reading the whole batch instead, and from looking by the batch's id, which it
# would prefer as soon as its statistics are older than the batch. The sort by line
# ends the search before the first row is inserted, or it would meet the new ones.
_TAKEN = text(
    """
    insert into recipients (batch_id, seq, address, variables)
    select :batch_id, :taken - 1 + row_number() over (order by line),
        address, variables
    from (
        select line, address, variables, hash, row_number() over (
            partition by hash, address order by line
        ) as nth
        from (
            select *, hashtextextended(
                address, uuid_hash_extended(cast(:batch_id as uuid), 0)
            ) as hash
            from incoming
        ) hashed
    ) new
    where nth = 1 and not exists (
        select from (
            select batch_id, address from recipients
            where hashtextextended(address, uuid_hash_extended(batch_id, 0)) = new.hash
            offset 0
        ) old
        where old.batch_id = :batch_id and old.address = new.address
        offset 0
    )
    """
)
_COUNTED = text(
    """
    update batches
    set rows = rows + :rows, invalid = invalid + :invalid,
        duplicates = duplicates + :duplicates, recipients = recipients + :added,
        variable_names = array(
            select unnest(variable_names) union select unnest(cast(:names as text[]))
            order by 1
        )
    where id = :batch_id
    """
)
_STORED = text(
    """
    insert into upload_parts (batch_id, part, answer)
    values (:batch_id, :part, :answer)
    """
)


def create_batch(
    connection: Connection,
    config: Mapping[str, Any],
    *,
    name: str,
    payload: Mapping[str, Any],
    scheduled_at: datetime | None = None,
) -> UUID:
    """Return the id of a new draft of the config's tenant."""
    made = connection.execute(
        insert(batches)
        .values(
            tenant_id=config["tenant_id"],
            config_id=config["id"],
            name=name,
            payload=payload,
            scheduled_at=scheduled_at,
        )
        .returning(batches.c.id)
    )
    return UUID(str(made.scalar_one()))


@dataclass(frozen=True, slots=True)
class PartAnswer:
    """What became of a part.

    Attributes:
        body: `{part, rows, added, duplicates, invalid, errors: [{line, reason}]}`,
            the first `ERRORS_SHOWN` errors by line.
        replayed: The part had been taken before; nothing was changed.
    """

    body: Mapping[str, Any]
    replayed: bool


def stored_answer(
    connection: Connection, batch_id: UUID, part: int
) -> PartAnswer | None:
    """Return the answer to a part that was taken before."""
    body = connection.execute(_ANSWER, {"batch_id": batch_id, "part": part}).scalar()
    return None if body is None else PartAnswer(body, replayed=True)


def take_part(
    connection: Connection,
    tenant_id: UUID,
    batch_id: UUID,
    part: int,
    blocks: Iterable[Block],
) -> PartAnswer:
    """Add a part's recipients to a draft, numbered densely in the order of lines.

    The first row of an address wins, within the part and among parts. The batch is
    locked only after the rows have arrived, so parts arrive side by side. Memory is
    that of one block.

    Raises:
        NotFoundError: The tenant has no such batch.
        ConflictError: The batch is not a draft any more.
        InvalidInputError: What the blocks raise; the transaction must be undone.
    """
    tally = _Tally()
    connection.exec_driver_sql(_INCOMING)
    _copy(connection, tally.counting(blocks))
    batch = locked_batch(connection, tenant_id, batch_id)
    before = stored_answer(connection, batch_id, part)
    if before is not None:
        return before
    if batch["status"] != BatchStatus.DRAFT:
        raise ConflictError(
            f"The batch is {batch['status']}; recipients are added to a draft only."
        )
    # Enough to sort a usual part in memory.
    connection.exec_driver_sql("set local work_mem = '64MB'")
    added = connection.execute(
        _TAKEN, {"batch_id": batch_id, "taken": batch["recipients"]}
    ).rowcount
    return _recorded(connection, batch_id, part, tally, added)


@dataclass(slots=True)
class _Tally:
    """What the blocks of a part held."""

    good: int = 0
    invalid: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def counting(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Yield the blocks, counted."""
        for block in blocks:
            self.good += len(block.lines)
            self.invalid += len(block.invalid)
            self.errors += block.invalid[: ERRORS_SHOWN - len(self.errors)]
            self.names |= block.names
            yield block

    def answer(self, part: int, added: int) -> dict[str, Any]:
        """Return the part's answer as JSON."""
        return {
            "part": part,
            "rows": self.good + self.invalid,
            "added": added,
            "duplicates": self.good - added,
            "invalid": self.invalid,
            "errors": [{"line": line, "reason": why} for line, why in self.errors],
        }


def _recorded(
    connection: Connection, batch_id: UUID, part: int, tally: _Tally, added: int
) -> PartAnswer:
    body = tally.answer(part, added)
    counts = {name: body[name] for name in ("rows", "added", "duplicates", "invalid")}
    connection.execute(
        _COUNTED, {"batch_id": batch_id, "names": sorted(tally.names), **counts}
    )
    stored = {"batch_id": batch_id, "part": part, "answer": orjson.dumps(body).decode()}
    connection.execute(_STORED, stored)
    return PartAnswer(body, replayed=False)


def _copy(connection: Connection, blocks: Iterable[Block]) -> None:
    rows = _CopyFile(blocks)
    cursor = connection.connection.cursor()
    try:
        cursor.copy_expert("copy incoming from stdin", rows, size=1 << 17)
    except DatabaseError as error:
        raise _translated(connection, error, rows.failure) from error
    finally:
        cursor.close()


def _translated(
    connection: Connection, error: Exception, failure: Exception | None
) -> Exception:
    """Return what went wrong in a COPY, which SQLAlchemy does not see."""
    if failure is not None:
        # The library hides what `read` raised behind a cancelled query.
        return failure
    if isinstance(error, DataError):
        # A guard behind the parser, which lets nothing through that Postgres refuses.
        return InvalidInputError(
            "A row holds a character or a value that cannot be stored."
        )
    if isinstance(error, OperationalError):
        connection.invalidate()
        return NeighbourUnavailableError("Postgres went away during an upload.")
    return error


class _CopyFile:
    """Blocks as the file that COPY reads, in its text format.

    Attributes:
        failure: What a block raised instead of coming.
    """

    def __init__(self, blocks: Iterable[Block]) -> None:
        self.failure: Exception | None = None
        self._encoded = map(_encoded, blocks)
        self._block = BytesIO()

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; none at the end."""
        try:
            while not (piece := self._block.read(size)):
                self._block = BytesIO(next(self._encoded))
        except StopIteration:
            return b""
        except Exception as error:
            self.failure = error
            raise
        return piece


def _encoded(block: Block) -> bytes:
    """Return a block's rows as lines of COPY's text format.

    Only the backslash needs care: JSON writes every control character as an escape,
    and no address holds one.
    """
    rows = zip(map(str, block.lines), block.addresses, block.variables, strict=True)
    lines = map("\t".join, rows)
    return "".join(f"{line}\n" for line in lines).replace("\\", "\\\\").encode()
