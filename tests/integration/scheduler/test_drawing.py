"""Bitmaps that lost something are painted from the ledger; the others are left."""

import pytest
from sqlalchemy import text

from hot_state.outcomes import Outcomes
from models.outcome import Outcome
from scheduler.drawing import redraw
from scheduler.sync import sync
from tests.factories import (
    finish,
    make_started,
    reported,
)


@pytest.fixture
def batch_id(ledger_database, config):
    """Two chunks of two."""
    return make_started(ledger_database, config, recipients=4, chunk=2)


def total(outcomes, batch_id):
    return sum(outcomes.counts(str(batch_id)).values())


def record(outcomes, batch_id, no, **sets):
    outcomes.record(str(batch_id), no, 1, no * 2, 2, Outcome(**sets))


def test_what_a_wiped_server_lost_is_painted(
    *, ledger_database, outcomes, hot_state, timing, batch_id
):
    """While the batch runs, and when it is finished."""
    for no, known in ((0, 2), (1, 4)):
        finish(ledger_database, batch_id, no=no, failed=0b01)
        sync(ledger_database, outcomes, timing)
        hot_state.flushall()

        assert redraw(ledger_database, outcomes) >= 1

        assert total(outcomes, batch_id) == known
        assert outcomes.counts(str(batch_id))["failed"] == known / 2


def test_bitmaps_that_are_ahead_of_the_fold_are_left(
    *, ledger_database, outcomes, timing, batch_id
):
    """Painting would take back what is shown already."""
    finish(ledger_database, batch_id, no=0)
    record(outcomes, batch_id, 0, sent=0b11)
    record(outcomes, batch_id, 1, sent=0b11)

    sync(ledger_database, outcomes, timing)

    assert total(outcomes, batch_id) == 4


def test_an_early_event_is_no_loss(*, ledger_database, outcomes, timing, batch_id):
    """Counters know more than the ledger then, and the ledger decides."""
    with ledger_database.transaction() as connection:
        reported(connection, batch_id, 3, "delivered")
    record(outcomes, batch_id, 0, sent=0b11)
    finish(ledger_database, batch_id, no=0)
    sync(ledger_database, outcomes, timing)

    assert redraw(ledger_database, outcomes) == 0


def test_a_batch_that_was_finished_long_ago_is_not_looked_at(
    *, ledger_database, outcomes, hot_state, timing, batch_id
):
    """Whoever asks for it is answered from Postgres."""
    for no in (0, 1):
        finish(ledger_database, batch_id, no=no)
    sync(ledger_database, outcomes, timing)
    with ledger_database.statement() as connection:
        long_ago = "finished_at = finished_at - interval '61 s'"
        connection.execute(
            text(f"update batches set {long_ago} where id = :id"), {"id": batch_id}
        )
    hot_state.flushall()

    redraw(ledger_database, outcomes)

    assert total(outcomes, batch_id) == 0


def test_without_dragonfly_nothing_is_painted(
    *, ledger_database, outcomes, away, timing, batch_id
):
    """It is tried again in the next round."""
    finish(ledger_database, batch_id)
    sync(ledger_database, outcomes, timing)

    assert redraw(ledger_database, Outcomes(away)) == 0
