"""Live bitmaps of batches, and outcome records that wait for sync.

All of it is a projection. Where Dragonfly is away the caller goes on: the ledger in
Postgres holds the same outcome, and `redraw` paints the bitmaps from it again.

Every method raises `NeighbourUnavailableError` where Dragonfly does not answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import redis

from hot_state import bits, keys
from hot_state.client import Script, answering, ask
from hot_state.records import from_lines, to_line
from models.outcome import Outcome

_RECORD = Script("record_outcome")
_COUNT_FINAL = Script("count_final")
_LIST_WAITING = Script("list_waiting")
_FORGET = Script("forget_outcomes")

#: Ranges painted in one transaction; other callers wait for that long.
_DRAWN_TOGETHER = 32

#: A range of a batch as the ledger knows it: first seq, size, and the set of
#: positions by status; a status left out is the empty set.
Drawing = tuple[int, int, Mapping[str, int]]


class Outcomes:
    """What became of the recipients of batches, as far as Dragonfly knows."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def record(  # noqa: PLR0917 - the ledger names a chunk by these five.
        self,
        batch_id: str,
        no: int,
        token: int,
        first: int,
        size: int,
        outcome: Outcome,
    ) -> None:
        """Draw an outcome into the batch's bitmaps and keep its record, in one step.

        Groups of one chunk and token add up; the same outcome twice changes nothing.
        Where statuses meet, the higher rank stays: sent, failed, suppressed,
        cancelled, unknown.

        Args:
            batch_id: The batch, as text.
            no: The chunk's number.
            token: The claim under which the calls were made.
            first: The seq of the chunk's first recipient.
            size: How many recipients the chunk has, not the group.
            outcome: What became of whom, by position in the chunk.

        Raises:
            ValueError: The outcome holds a position outside the chunk.
        """
        words = [
            bits.to_words(getattr(outcome, status, 0), size) for status in keys.RANKED
        ]
        names = [*keys.bitmaps(batch_id), keys.outcomes(batch_id), keys.WAITING]
        field, line = f"{no}:{token}", to_line(outcome)
        arguments = [first, size, batch_id, field, line, keys.BATCH_TTL_S, *words]
        _RECORD.run(self._client, names, arguments)

    def find(self, batch_id: str, no: int, token: int) -> Outcome | None:
        """Return what the chunk recorded under this token, all groups together."""
        lines = ask(self._client, "HGET", keys.outcomes(batch_id), f"{no}:{token}")
        return None if lines is None else from_lines(lines)

    def waiting(self, batch_id: str) -> list[tuple[int, int]]:
        """Return `(no, token)` of the records that wait for sync."""
        fields = ask(self._client, "HKEYS", keys.outcomes(batch_id))
        return [_no_and_token(field) for field in fields]

    def batches_waiting(self) -> list[str]:
        """Return the batches that have records; one may have expired meanwhile."""
        found = _LIST_WAITING.run(self._client, [keys.WAITING], [])
        return [batch_id.decode() for batch_id in found]

    def forget(self, batch_id: str, fields: Sequence[tuple[int, int]]) -> None:
        """Delete records by `(no, token)`; a record made meanwhile stays.

        A batch without records leaves `batches_waiting`; with no fields at all that
        is the only effect.
        """
        names = [keys.outcomes(batch_id), keys.WAITING]
        arguments = [batch_id, *(f"{no}:{token}" for no, token in fields)]
        _FORGET.run(self._client, names, arguments)

    def counts(self, batch_id: str) -> dict[str, int]:
        """Return how many recipients have each of the five outcomes, by its name."""
        return self.counts_of([batch_id])[batch_id]

    def counts_of(self, batch_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """Return `counts` by batch, all of one moment, in one round trip."""
        pipeline: Any = self._client.pipeline(transaction=True)
        for batch_id in batch_ids:
            for bitmap in keys.bitmaps(batch_id):
                pipeline.execute_command("BITCOUNT", bitmap)
        with answering():
            found = iter(pipeline.execute())
        names = [status.value for status in keys.RANKED]
        return {
            batch_id: dict(zip(names, found, strict=False)) for batch_id in batch_ids
        }

    def all_final(self, batch_id: str, first: int, size: int) -> bool:
        """Tell whether each recipient of a range has one of the five outcomes.

        An empty or stale server tells no; the ledger then decides.
        """
        final = _COUNT_FINAL.run(self._client, keys.bitmaps(batch_id), [first, size])
        return bool(final == size)

    def redraw(self, batch_id: str, drawings: Sequence[Drawing]) -> None:
        """Paint ranges as the ledger knows them, whatever was there before.

        Only these ranges change. What is recorded while the ledger is read may be
        painted over: live counts then lag until the range is drawn again.

        Raises:
            ValueError: A set reaches beyond its range, or two sets meet.
        """
        for start in range(0, len(drawings), _DRAWN_TOGETHER):
            pipeline: Any = self._client.pipeline(transaction=True)
            for drawing in drawings[start : start + _DRAWN_TOGETHER]:
                _draw(pipeline, batch_id, drawing)
            for bitmap in keys.bitmaps(batch_id):
                pipeline.execute_command("EXPIRE", bitmap, keys.BATCH_TTL_S)
            with answering():
                pipeline.execute()

    def drop(self, batch_id: str) -> None:
        """Delete all there is about a batch, records included."""
        pipeline: Any = self._client.pipeline(transaction=True)
        names = [*keys.bitmaps(batch_id), keys.outcomes(batch_id)]
        pipeline.execute_command("UNLINK", *names)
        pipeline.execute_command("ZREM", keys.WAITING, batch_id)
        with answering():
            pipeline.execute()


def _no_and_token(field: bytes) -> tuple[int, int]:
    no, token = field.split(b":")
    return int(no), int(token)


def _draw(pipeline: Any, batch_id: str, drawing: Drawing) -> None:
    first, size, sets = drawing
    drawn = 0
    for status in keys.RANKED:
        members = sets.get(status, 0)
        if drawn & members:
            raise ValueError("A recipient has one outcome, but two sets hold it.")
        drawn |= members
        bitmap = keys.bitmap(batch_id, status)
        pipeline.execute_command("BITFIELD", bitmap, *bits.pieces(members, first, size))
