"""A dead chunk is opened again for those whom its burial left out, and nobody else."""

from dataclasses import replace

import pytest

from models import chunk as rules
from models.queries import control, fold, ledger, publishing, reopening
from tests.factories import (
    claimed,
    fields_of,
    make_config,
    make_started,
    reported,
    statuses_of,
)


@pytest.fixture
def batch_id(ledger_database):
    """Five people: refused for good, sent, in call, and two whom nobody called."""
    batch_id = make_started(ledger_database, make_config(ledger_database), recipients=5)
    held = claimed(ledger_database, batch_id, calls=[0b00100])
    held = replace(
        held, failed=0b00001, sent=0b00010, errors={0: "No such user."}, crashes=5
    )
    with ledger_database.statement() as connection:
        advanced = ledger.advance(
            connection, rules.buried(held), then=None, lease_s=45, dead=True
        )
    assert advanced.done
    return batch_id


def fold_all(database):
    with database.transaction() as connection:
        fold.fold(connection, chunks=100)
        fold.complete_batches(connection, reopens=3)


def reopen(database, batch_id):
    with database.transaction() as connection:
        return reopening.reopen_dead(connection, batch_id, 0)


@pytest.mark.parametrize("folded", [True, False])
def test_who_was_left_out_is_open_again_and_counted_once(
    ledger_database, batch_id, folded
):
    """Whether recipients and counters had heard of the burial or not."""
    if folded:
        fold_all(ledger_database)

    reopened = reopen(ledger_database, batch_id)

    assert (reopened.first, reopened.size, reopened.open) == (0, 5, 2)
    assert reopened.sets["failed"] == 0b00001
    row = fields_of(ledger_database, "chunks", batch_id, no=0)
    assert (row["state"], row["dead"], row["crashes"]) == ("open", False, 0)
    assert (row["epoch"], row["published_at"], row["folded_at"]) == (1, None, None)
    assert (row["sent"], row["failed"], row["unknown"]) == ("01000", "10000", "00100")
    assert row["errors"].keys() == {"0", "2"}
    batch = fields_of(ledger_database, "batches", batch_id)
    assert (batch["status"], batch["finished_at"]) == ("processing", None)
    assert batch["failed"] == int(folded)
    assert reopen(ledger_database, batch_id) is None
    with ledger_database.transaction() as connection:
        assert batch_id in publishing.batches_to_expand(connection, again_s=60)
        plan = publishing.sealed_plan(connection, str(batch_id))
        [page] = publishing.next_page(connection, plan, chunks=10)
    assert (page.no, page.epoch) == (0, 1)

    held = claimed(ledger_database, batch_id)
    assert held.open == 0b11000
    with ledger_database.statement() as connection:
        unknown = replace(held, sent=held.sent | 0b01000, unknown=0b10100)
        ledger.advance(connection, unknown, then=None, lease_s=45)
    fold_all(ledger_database)

    batch = fields_of(ledger_database, "batches", batch_id)
    counted = batch["sent"], batch["failed"], batch["unknown"]
    assert (batch["status"], counted) == ("completed", (2, 1, 2))
    assert statuses_of(ledger_database, batch_id) == [
        "failed", "sent", "unknown", "sent", "unknown",
    ]  # fmt: skip


def test_whom_an_event_proved_sent_is_not_called(ledger_database, batch_id):
    """However it came about, a proof outranks our burial."""
    fold_all(ledger_database)
    with ledger_database.transaction() as connection:
        reported(connection, batch_id, 3, "delivered")

    assert reopen(ledger_database, batch_id).open == 1

    assert claimed(ledger_database, batch_id).open == 0b10000
    row = fields_of(ledger_database, "chunks", batch_id, no=0)
    assert (row["sent"], row["failed"]) == ("01010", "10000")
    assert fields_of(ledger_database, "batches", batch_id)["failed"] == 1


def test_a_cancelled_batch_stays_ended(ledger_database, batch_id):
    tenant_id = fields_of(ledger_database, "batches", batch_id)["tenant_id"]
    with ledger_database.transaction() as connection:
        control.cancel_batch(connection, tenant_id, batch_id)

    assert reopen(ledger_database, batch_id) is None

    assert fields_of(ledger_database, "chunks", batch_id, no=0)["state"] == "done"


def test_a_chunk_without_a_dead_letter_stays_done(ledger_database):
    """An operator cannot make a healthy chunk run again."""
    batch_id = make_started(ledger_database, make_config(ledger_database), recipients=2)
    held = claimed(ledger_database, batch_id)
    with ledger_database.statement() as connection:
        ledger.advance(connection, replace(held, failed=0b11), then=None, lease_s=45)

    assert reopen(ledger_database, batch_id) is None
