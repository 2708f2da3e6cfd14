"""What became of whole chunks, written as few rows that ClickHouse unfolds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from itertools import compress
from typing import NamedTuple
from uuid import UUID

import orjson

from analytics.client import Client, Column
from analytics.masking import without_addresses
from models.status import OUTCOMES, RecipientStatus

#: As many recipients are worth an insert of their own.
LARGEST_WAIT_ROWS = 10_000

#: Nobody's event waits longer than this, in seconds.
LONGEST_WAIT_S = 5.0

#: Between the texts of a row: ASCII's unit separator, which no id or error holds.
_SEPARATOR = "\x1f"

#: From the letters of a bit string to the numbers that `compress` takes.
_BITS = bytes.maketrans(b"01", b"\x00\x01")

_COLUMNS = (
    ("tenant_id", "UUID"),
    ("batch_id", "UUID"),
    ("event", "LowCardinality(String)"),
    ("first", "UInt32"),
    ("size", "UInt32"),
    ("members", "String"),
    ("occurred_at", "DateTime64(3, 'UTC')"),
    ("name", "String"),
    ("provider_message_ids", "String"),
    ("errors", "String"),
)


class IntakeRow(NamedTuple):
    """One row of `chunk_log`; a tuple, because it is turned into columns.

    Attributes:
        tenant_id: Whose batch it is.
        batch_id: The batch.
        event: A status by name.
        first: The seq of the chunk's first recipient.
        size: How many recipients the chunk has.
        members: To whom it happened, as the ledger's bit strings; empty for all.
        occurred_at: When it became known.
        name: The batch's, or empty for a single message.
        provider_message_ids: Of the members, joined by the separator, or empty.
        errors: Likewise.
    """

    tenant_id: UUID
    batch_id: UUID
    event: str
    first: int
    size: int
    members: str
    occurred_at: datetime
    name: str
    provider_message_ids: str
    errors: str


@dataclass(frozen=True, slots=True)
class ChunkEvents:
    """What the ledger knows of a finished chunk.

    The sets are the ledger's bit strings, position 0 first; empty means nobody.

    Attributes:
        batch_id: The batch.
        tenant_id: Whose it is.
        first: The seq of its first recipient.
        size: How many recipients it has.
        queued_at: When all of them were queued, aware of its zone.
        finished_at: When the outcomes were known, aware of its zone.
        sent: Those a provider took.
        failed: Those for whom no call can have succeeded.
        unknown: Those called without an answer.
        suppressed: Those left out for a suppression list.
        cancelled: Those left out because the batch was cancelled.
        provider_ids: The provider's message ids by position; may be empty or end
            early.
        errors: The reason by position, for those who have one; addresses in it are
            left out when it is logged.
        name: The batch's, for lists; empty for a single message.
    """

    batch_id: UUID
    tenant_id: UUID
    first: int
    size: int
    queued_at: datetime
    finished_at: datetime
    sent: str = ""
    failed: str = ""
    unknown: str = ""
    suppressed: str = ""
    cancelled: str = ""
    provider_ids: Sequence[str | None] = ()
    errors: Mapping[int, str] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True, slots=True)
class Buffer:
    """When what waits in the ledger is worth an insert.

    An insert of 10,000 recipients costs four times as much for each as one of
    100,000: when due, write all that waits.

    Attributes:
        rows: Due when so many recipients wait.
        wait_s: Due when the oldest has waited so long, in seconds.
    """

    rows: int = LARGEST_WAIT_ROWS
    wait_s: float = LONGEST_WAIT_S

    def due(self, recipients_waiting: int, oldest_s: float) -> bool:
        """Tell whether to write now; never when nobody waits."""
        return recipients_waiting > 0 and (
            recipients_waiting >= self.rows or oldest_s >= self.wait_s
        )


class EventLog:
    """Writes chunks' events; the same chunk again, in any company, changes nothing."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def write(self, chunks: Sequence[ChunkEvents]) -> int:
        """Store all events of the chunks in one insert and return their number.

        A chunk whose outcomes moved since it was logged adds the new events. Before
        it returns nothing is promised: on `NeighbourUnavailableError` the same
        chunks are to be written again, and may then stand beside others.

        Args:
            chunks: At most some hundred thousand recipients, so that the server
                unfolds them in bounded memory.
        """
        rows = intake_rows(chunks)
        if not rows:
            return 0
        self._client.insert("chunk_log", _columns(rows), token=token_of(rows))
        return sum(row.members.count("1") or row.size for row in rows)


def _columns(rows: Sequence[IntakeRow]) -> list[Column]:
    """Return rows, at least one, as the columns of `chunk_log`."""
    values = zip(*rows, strict=True)
    return [
        Column(name, of_type, column)
        for (name, of_type), column in zip(_COLUMNS, values, strict=True)
    ]


def intake_rows(chunks: Iterable[ChunkEvents]) -> list[IntakeRow]:
    """Return a row for each chunk and each event that somebody in it had.

    They are in the order of the table, so that the server has nothing to sort.
    """
    return sorted((row for chunk in chunks for row in _rows(chunk)), key=_place)


def token_of(rows: Sequence[IntakeRow]) -> str:
    """Return a name of the content, the same for the same rows."""
    content = orjson.dumps(rows, default=tuple)
    return blake2b(content, digest_size=16).hexdigest()


def _rows(chunk: ChunkEvents) -> Iterator[IntakeRow]:
    yield _row(chunk, RecipientStatus.QUEUED, "1" * chunk.size)
    for outcome in OUTCOMES:
        members: str = getattr(chunk, outcome)
        if "1" in members:
            yield _row(chunk, outcome, members)


def _row(chunk: ChunkEvents, event: RecipientStatus, members: str) -> IntakeRow:
    queued = event is RecipientStatus.QUEUED
    ids = chunk.provider_ids if event is RecipientStatus.SENT else ()
    errors: Sequence[str | None] = ()
    if chunk.errors and not queued:
        reasons = {at: without_addresses(why) for at, why in chunk.errors.items()}
        errors = [reasons.get(position) for position in range(chunk.size)]
    return IntakeRow(
        chunk.tenant_id,
        chunk.batch_id,
        event.value,
        chunk.first,
        chunk.size,
        members if "0" in members else "",
        chunk.queued_at if queued else chunk.finished_at,
        chunk.name,
        _of_members(ids, members),
        _of_members(errors, members),
    )


def _of_members(texts: Sequence[str | None], members: str) -> str:
    """Return the members' texts as one, or nothing where all are empty."""
    if not texts:
        return ""
    chosen = compress(texts, members.encode().translate(_BITS))
    found = [text or "" for text in chosen]
    joined = _SEPARATOR.join(found)
    if joined.count(_SEPARATOR) >= len(found):
        # A provider's text holds the separator: it would shift all behind it.
        joined = _SEPARATOR.join([text.replace(_SEPARATOR, " ") for text in found])
    return joined if any(found) else ""


def _place(row: IntakeRow) -> tuple[bytes, bytes, str, int]:
    return row.tenant_id.bytes, row.batch_id.bytes, row.event, row.first
