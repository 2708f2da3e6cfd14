"""One round brings recipients, counters and batches to what the ledger says."""

import pytest

from hot_state.outcomes import Outcomes
from models.outcome import Outcome
from models.queries import control
from scheduler.sync import sync
from tests.factories import (
    claimed,
    fields_of,
    finish,
    make_config,
    make_started,
    set_chunk,
    statuses_of,
)

LEASE_OVER = "lease_until = now() - interval '9 s'"


@pytest.fixture
def batch_id(ledger_database, config):
    return make_started(ledger_database, config, recipients=3)


def record(outcomes, batch_id, token, **sets):
    outcomes.record(str(batch_id), 0, token, 0, 3, Outcome(**sets))


def test_a_round_folds_completes_and_forgets(
    *, ledger_database, outcomes, timing, batch_id
):
    """By name: a record made meanwhile stays. A second round changes nothing."""
    record(outcomes, batch_id, 1, sent=0b111)
    record(outcomes, batch_id, 2, sent=0b001)
    finish(ledger_database, batch_id)

    sync(ledger_database, outcomes, timing)
    once = fields_of(ledger_database, "batches", batch_id)
    sync(ledger_database, outcomes, timing)

    assert statuses_of(ledger_database, batch_id) == ["sent"] * 3
    assert (once["status"], once["sent"]) == ("completed", 3)
    assert outcomes.waiting(str(batch_id)) == [(0, 2)]
    assert fields_of(ledger_database, "batches", batch_id) == once


def test_without_dragonfly_the_ledger_is_folded_all_the_same(
    *, ledger_database, away, timing, batch_id
):
    """The fold reads the ledger's own row."""
    finish(ledger_database, batch_id)
    claimed(ledger_database, make_started(ledger_database, make_config(ledger_database),
                                          recipients=1), calls=[1])  # fmt: skip

    sync(ledger_database, Outcomes(away), timing)

    assert fields_of(ledger_database, "batches", batch_id)["status"] == "completed"


@pytest.mark.parametrize("keyed", [False, True])
def test_a_row_whose_holder_recorded_all_is_closed(
    *, ledger_database, outcomes, timing, keyed
):
    """Its message may be gone: acked on the strength of the bitmaps."""
    config = make_config(ledger_database, idempotencyKeys=keyed)
    batch_id = make_started(ledger_database, config, recipients=3)
    claimed(ledger_database, batch_id, calls=[0b111])
    record(outcomes, batch_id, 1, sent=0b011, failed=0b100, errors={2: "a\0b"})
    sync(ledger_database, outcomes, timing)
    live = fields_of(ledger_database, "chunks", batch_id, no=0)
    assert live["state"] == "claimed"

    set_chunk(ledger_database, batch_id, LEASE_OVER)
    sync(ledger_database, outcomes, timing)

    assert statuses_of(ledger_database, batch_id) == ["sent", "sent", "failed"]
    assert fields_of(ledger_database, "batches", batch_id)["status"] == "completed"


def test_a_row_of_which_not_all_is_known_waits_for_its_taker(
    *, ledger_database, outcomes, timing, batch_id
):
    """Nobody may decide by half a record."""
    claimed(ledger_database, batch_id, calls=[0b111])
    record(outcomes, batch_id, 1, sent=0b011)
    set_chunk(ledger_database, batch_id, LEASE_OVER)

    sync(ledger_database, outcomes, timing)

    row = fields_of(ledger_database, "chunks", batch_id, no=0)
    assert (row["state"], row["token"], row["sent"]) == ("claimed", 1, "000")


def test_a_former_holders_record_is_a_fact(
    *, ledger_database, outcomes, timing, batch_id
):
    """Given up as unknown by the taker: sent after all, in rows and counters."""
    claimed(ledger_database, batch_id)
    set_chunk(ledger_database, batch_id, "lease_until = null")
    finish(ledger_database, batch_id, unknown=0b111)
    record(outcomes, batch_id, 1, sent=0b001)

    sync(ledger_database, outcomes, timing)
    sync(ledger_database, outcomes, timing)

    assert statuses_of(ledger_database, batch_id) == ["sent", "unknown", "unknown"]
    batch = fields_of(ledger_database, "batches", batch_id)
    assert (batch["sent"], batch["unknown"]) == (1, 2)
    assert outcomes.waiting(str(batch_id)) == []


def test_an_open_row_of_a_cancelled_batch_is_closed(
    *, ledger_database, outcomes, timing, config, batch_id
):
    """Its holder gave it back in the moment of the cancel."""
    with ledger_database.transaction() as connection:
        control.cancel_batch(connection, config["tenant_id"], batch_id)
    set_chunk(ledger_database, batch_id, "state = 'open', cancelled = b'000'")

    sync(ledger_database, outcomes, timing)
    sync(ledger_database, outcomes, timing)

    batch = fields_of(ledger_database, "batches", batch_id)
    assert (batch["status"], batch["cancelled"]) == ("cancelled", 3)
    assert batch["finished_at"] is not None
