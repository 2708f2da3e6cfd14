"""All that the servers and the sink know of a batch, read once it has ended."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, text

from analytics import reports
from embedded.sink_ledger import SinkCall, from_ranges
from hot_state import keys
from hot_state.client import ask
from models.jobs import ExpandBatch, SendChunk
from models.status import OUTCOMES
from tests.chaos import audit
from tests.chaos.audit import Version
from tests.chaos.batches import Batch, sink_calls
from tests.chaos.house import House

STATUSES = tuple(status.value for status in OUTCOMES)


@dataclass(frozen=True)
class Evidence:
    """What is known of one batch.

    Attributes:
        batch: What the test sent.
        row: The batch's row.
        chunks: Its rows of the ledger in order, bit strings as text.
        recipients: By seq, in order: (seq, status).
        bitmaps: By outcome, Dragonfly's bit string, one character a seq.
        events: ClickHouse's counts, `queued` and the outcomes.
        calls: What its sink was called with, in order; the fall-back's too.
        other_calls: Those of them that the fall-back made.
        versions: Every committed version of the ledger's rows.
        stored: Messages left in the queues of chunks (this tenant's) and batches.
        dead_letters: Letters of chunks, of all batches.
        dead_rows: Rows of the ledger that became dead letters, of all batches.
        uploaded: Rows that the test uploaded.
    """

    batch: Batch
    row: Mapping[str, Any]
    chunks: Sequence[Mapping[str, Any]]
    recipients: Sequence[tuple[int, str]]
    bitmaps: Mapping[str, str]
    events: Mapping[str, int]
    calls: Sequence[SinkCall]
    other_calls: Sequence[SinkCall]
    versions: Sequence[Version]
    stored: int
    dead_letters: int
    dead_rows: int
    uploaded: int

    @cached_property
    def status_of(self) -> list[str]:
        """Return each recipient's status, by seq."""
        return [status for _, status in self.recipients]

    @cached_property
    def accepted(self) -> bytearray:
        """Return how often the sink took each seq."""
        return _counted(self.calls, self.batch.recipients, only_deliveries=True)

    @cached_property
    def maybe_taken(self) -> bytearray:
        """Return how many calls each seq had that its sink did not surely refuse."""
        unsure = [call for call in self.calls if not surely_refused(call)]
        return _counted(unsure, self.batch.recipients, only_deliveries=False)

    def ledger(self, name: str) -> str:
        """Return one of the ledger's sets over the whole batch, as a bit string."""
        return "".join(chunk[name] for chunk in self.chunks)

    def seqs(self, *statuses: str) -> list[int]:
        """Return who has one of these statuses."""
        return [seq for seq, status in self.recipients if status in statuses]


def surely_refused(call: SinkCall) -> bool:
    """Tell whether the answer proves that nobody was taken (design, rule 5)."""
    return call.answer == "refused" and 400 <= call.status < 500 and call.status != 409


def seqs_of(call: SinkCall) -> list[int]:
    """Return whom a call was for, in its order."""
    return [seq for part in from_ranges(call.seqs) for seq in part]


def _counted(
    calls: Iterable[SinkCall], size: int, *, only_deliveries: bool
) -> bytearray:
    counts = bytearray(size)
    for call in calls:
        if only_deliveries and not call.is_delivery:
            continue
        out = {seq for part in from_ranges(call.rejected) for seq in part}
        for seq in seqs_of(call):
            counts[seq] += seq not in out or not only_deliveries
    return counts


def gather(house: House, batch: Batch) -> Evidence:
    """Read everything; the batch must have ended."""
    stored = house.broker.stored(SendChunk.queue).get(str(batch.tenant_id), 0)
    _, _, dead = house.broker.get_queue_message_counts(SendChunk.queue)
    other_calls = sink_calls(house, batch, fallback=True)
    ready, delayed, _ = house.broker.get_queue_message_counts(ExpandBatch.queue)
    with house.database.transaction() as connection:
        return Evidence(
            batch=batch,
            row=_one(connection, "select * from batches where id = :id", batch),
            chunks=_all(connection, _CHUNKS, batch),
            recipients=[
                (row["seq"], row["status"])
                for row in _all(connection, _RECIPIENTS, batch)
            ],
            bitmaps={status: _bitmap(house, batch, status) for status in STATUSES},
            events=reports.batch_stats(house.events, batch.id),
            calls=sorted(
                [*sink_calls(house, batch), *other_calls], key=lambda call: call.t
            ),
            other_calls=other_calls,
            versions=audit.versions(connection, batch.id),
            stored=stored + ready + delayed,
            dead_letters=dead,
            dead_rows=connection.execute(
                text("select count(*) from chunks where dead")
            ).scalar_one(),
            uploaded=batch.uploaded,
        )


_CHUNKS = """
    select no, first, last, state::text, token, epoch, calls, in_call, dead,
        by_fallback::text,
        sent::text, failed::text, unknown::text, suppressed::text, cancelled::text,
        doubt::text, folded_at, logged_at
    from chunks where batch_id = :id order by no
"""
_RECIPIENTS = "select seq, status::text from recipients where batch_id = :id order by 1"


def _one(connection: Connection, statement: str, batch: Batch) -> Mapping[str, Any]:
    [row] = _all(connection, statement, batch)
    return row


def _all(
    connection: Connection, statement: str, batch: Batch
) -> list[Mapping[str, Any]]:
    found = connection.execute(text(statement), {"id": batch.id})
    return [dict(row) for row in found.mappings()]


def _bitmap(house: House, batch: Batch, status: str) -> str:
    held: bytes = ask(house.hot, "GET", keys.bitmap(str(batch.id), status)) or b""
    drawn = "".join(f"{byte:08b}" for byte in held)
    assert "1" not in drawn[batch.recipients :], "A bitmap reaches beyond its batch."
    return drawn.ljust(batch.recipients, "0")[: batch.recipients]
