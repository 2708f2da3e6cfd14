"""What stopped moving is taken up again; what moves slowly is left alone."""

import pytest
from sqlalchemy import text

from models.queries import fold, recovery
from tests.factories import (
    claimed,
    fields_of,
    finish,
    make_config,
    make_started,
    reported,
    set_chunk,
    statuses_of,
)

PUBLISHED = "published_at = now() - interval '1 h'"


@pytest.fixture
def config(ledger_database):
    return make_config(ledger_database, policy="at_least_once")


def fold_all(database):
    with database.transaction() as connection:
        fold.fold(connection, chunks=100)


def reopen(database, *, window_s=0):
    with database.transaction() as connection:
        return recovery.reopen_unknown(connection, window_s=window_s, reopens=3)


def test_lost_messages_are_published_anew_but_not_of_live_holders(
    ledger_database, config
):
    """Epoch + 1 for all but the done, the unpublished and the held."""
    batch_id = make_started(ledger_database, config, recipients=5, chunk=1)
    for no in range(4):
        set_chunk(ledger_database, batch_id, PUBLISHED, no=no)
    finish(ledger_database, batch_id, no=0)
    claimed(ledger_database, batch_id, no=1)
    claimed(ledger_database, batch_id, no=2)
    set_chunk(ledger_database, batch_id, "lease_until = now() - interval '9 s'", no=2)
    tenant = str(config["tenant_id"])
    with ledger_database.statement() as connection:
        now = recovery.now(connection)
        assert recovery.published_unfinished(connection, before=now)[tenant] == 3
        assert recovery.republish(connection, tenant) == 2
        assert recovery.republish(connection, tenant) == 0
        assert recovery.published_unfinished(connection, before=now)[tenant] == 1

    rows = [fields_of(ledger_database, "chunks", batch_id, no=n) for n in range(5)]
    assert [row["epoch"] for row in rows] == [0, 0, 1, 1, 0]


def test_a_batch_is_stuck_only_when_nothing_moved_and_nothing_is_waited_for(
    ledger_database, config
):
    """A lease, a wait or a chunk done lately is movement."""
    batch_id = make_started(ledger_database, config, recipients=2, chunk=1)

    def stuck():
        with ledger_database.statement() as connection:
            found = recovery.stuck_batches(connection, after_s=300)
        return (batch_id, str(config["tenant_id"])) in found

    assert not stuck()
    with ledger_database.statement() as connection:
        connection.execute(
            text("update batches set started_at = now() - interval '1 h'"
                 " where id = :id"), {"id": batch_id},
        )  # fmt: skip
    for no in (0, 1):
        set_chunk(ledger_database, batch_id, PUBLISHED, no=no)
    assert stuck()
    set_chunk(ledger_database, batch_id, "not_before = now()", no=1)
    assert not stuck()


def test_exactly_those_still_unknown_are_tried_again(ledger_database, config):
    """An event told of one; who is sent or failed stays so."""
    batch_id = make_started(ledger_database, config, recipients=5)
    finish(ledger_database, batch_id, unknown=0b00111, failed=0b01000)
    fold_all(ledger_database)
    with ledger_database.transaction() as connection:
        for seq, status in ((0, "delivered"), (1, "failed")):
            reported(connection, batch_id, seq, status)
    assert reopen(ledger_database, window_s=60) == 0

    assert reopen(ledger_database) == 1

    row = fields_of(ledger_database, "chunks", batch_id, no=0)
    assert (row["state"], row["epoch"], row["published_at"]) == ("open", 1, None)
    assert (row["sent"], row["failed"], row["unknown"]) == ("10001", "01010", "00000")
    again = claimed(ledger_database, batch_id)
    assert again.open == 0b00100
    assert reopen(ledger_database) == 0


def test_nobody_is_tried_again_more_than_three_times(ledger_database, config):
    """Then the batch is completed with its unknown."""
    batch_id = make_started(ledger_database, config, recipients=2)
    for times in range(4):
        finish(ledger_database, batch_id, unknown=1, doubt=1)
        fold_all(ledger_database)
        assert reopen(ledger_database) == (times < 3)

    with ledger_database.transaction() as connection:
        assert fold.complete_batches(connection, reopens=3) == [str(batch_id)]
    batch = fields_of(ledger_database, "batches", batch_id)
    assert (batch["sent"], batch["unknown"]) == (1, 1)


def test_when_events_told_of_all_nobody_is_called(ledger_database, config):
    """The row stays done, and says what the events said."""
    batch_id = make_started(ledger_database, config, recipients=2)
    finish(ledger_database, batch_id, unknown=3)
    fold_all(ledger_database)
    with ledger_database.transaction() as connection:
        for seq in (0, 1):
            reported(connection, batch_id, seq, "delivered")

    reopen(ledger_database)

    row = fields_of(ledger_database, "chunks", batch_id, no=0)
    assert (row["state"], row["sent"], row["unknown"]) == ("done", "11", "00")
    assert statuses_of(ledger_database, batch_id) == ["delivered"] * 2


def test_at_most_once_calls_nobody_again(ledger_database):
    """Unknown moves only by facts."""
    config = make_config(ledger_database, policy="at_most_once")
    batch_id = make_started(ledger_database, config, recipients=2)
    finish(ledger_database, batch_id, unknown=3)
    fold_all(ledger_database)

    assert reopen(ledger_database) == 0
