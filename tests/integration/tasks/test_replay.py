"""A dead letter of a chunk, from its burial to the sending of whom it left out."""

from datetime import UTC, datetime

import pytest

from brokers import DeadLetter, dispatch
from brokers.delivery import Choice
from cli.chunk_letters import reopened
from tasks.send import PoisonChunkError
from tests.factories import claimed, set_chunk
from tests.integration.tasks.conftest import job_of

LEASE_OVER = "lease_until = now() - interval '9 s'"


def test_a_replayed_chunk_sends_whom_nobody_called_and_nobody_twice(
    *, start, deliver, row, sink, ledger_database, worker
):
    """Also where bitmaps that show the burial would skip a redelivery."""
    batch_id = start()
    claimed(ledger_database, batch_id, calls=[0b001])
    set_chunk(ledger_database, batch_id, f"crashes = 4, {LEASE_OVER}")
    with pytest.raises(PoisonChunkError):
        deliver(batch_id, times=6)
    drawing = (0, 3, {"unknown": 0b001, "failed": 0b110})
    worker.outcomes.redraw(str(batch_id), [drawing])
    job = job_of(worker, batch_id, 0)
    body = dispatch.ENCODER.encode(dispatch.to_message(job).asdict())
    letter = DeadLetter(
        9, "chunk", "email-system", "", body, "failed", None, None, 6, datetime.now(UTC)
    )

    assert reopened(worker.database, worker.outcomes, letter) == 2
    assert reopened(worker.database, worker.outcomes, letter) == 0

    shown = worker.outcomes.counts(str(batch_id))
    assert (shown["failed"], shown["unknown"]) == (0, 1)
    assert deliver(batch_id).choice is Choice.ACK
    assert deliver(batch_id, times=2).choice is Choice.ACK
    found = row(batch_id)
    assert (found["state"], found["sent"], found["unknown"]) == ("done", "011", "100")
    assert [call.seqs for call in sink.calls(batch_id)] == ["1-2"]
