"""Each recipient counts once, whoever tells and however often it is folded."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from models.queries import control, fold, ledger
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

COUNTERS = ("sent", "failed", "unknown", "suppressed", "cancelled")


@pytest.fixture(scope="module")
def config(ledger_database):
    return make_config(ledger_database)


def fold_all(database):
    with database.transaction() as connection:
        return fold.fold(connection, chunks=100)


def complete(database, *, reopens=3):
    with database.transaction() as connection:
        return fold.complete_batches(connection, reopens=reopens)


def counters(database, batch_id):
    batch = fields_of(database, "batches", batch_id)
    return tuple(batch[name] for name in COUNTERS)


def test_a_fold_gives_everybody_one_status(ledger_database, config):
    """Rows, counters and the ledger's bits say the same; errors and ids are kept."""
    batch_id = make_started(ledger_database, config, recipients=7, chunk=5)
    finish(ledger_database, batch_id, failed=2, unknown=4, suppressed=8, cancelled=16,
           errors={1: "No mailbox.", 2: "No answer."},
           provider_ids={0: "m-0"})  # fmt: skip
    finish(ledger_database, batch_id, no=1)

    folded = fold_all(ledger_database)

    assert [(f.batch_id, f.no, f.token) for f in folded] == [
        (str(batch_id), 0, 1),
        (str(batch_id), 1, 1),
    ]
    assert statuses_of(ledger_database, batch_id) == [
        "sent", "failed", "unknown", "suppressed", "cancelled", "sent", "sent",
    ]  # fmt: skip
    assert counters(ledger_database, batch_id) == (3, 1, 1, 1, 1)
    with ledger_database.statement() as connection:
        found = connection.exec_driver_sql(
            "select provider_message_id, error from recipients"
            f" where batch_id = '{batch_id}' order by seq limit 3"
        ).all()
    assert [tuple(row) for row in found] == [
        ("m-0", None), (None, "No mailbox."), (None, "No answer."),
    ]  # fmt: skip


def test_a_second_fold_changes_nothing(ledger_database, config):
    """Even where the row is folded anew."""
    batch_id = make_started(ledger_database, config, recipients=3)
    finish(ledger_database, batch_id, unknown=1)
    fold_all(ledger_database)
    assert fold_all(ledger_database) == []
    set_chunk(ledger_database, batch_id, "folded_at = null")

    assert len(fold_all(ledger_database)) == 1

    assert counters(ledger_database, batch_id) == (2, 0, 1, 0, 0)


def test_two_folds_at_once_count_once(ledger_database, config):
    """Two leaders share the work."""
    batch_id = make_started(ledger_database, config, recipients=40, chunk=2)
    for no in range(20):
        finish(ledger_database, batch_id, no=no, failed=1)
    together = Barrier(3)

    def lead(_):
        together.wait()
        return len(fold_all(ledger_database))

    with ThreadPoolExecutor(3) as leaders:
        assert sum(leaders.map(lead, range(3))) == 20

    assert counters(ledger_database, batch_id) == (20, 20, 0, 0, 0)


def test_an_event_that_comes_before_the_fold_counts_once(ledger_database, config):
    """Counters move by what each status before and after counts as."""
    batch_id = make_started(ledger_database, config, recipients=3)
    finish(ledger_database, batch_id, unknown=2, failed=4)
    moves = [(0, "delivered"), (1, "delivered"), (0, "opened"), (0, "delivered")]
    with ledger_database.transaction() as connection:
        moved = [reported(connection, batch_id, seq, status) for seq, status in moves]
    assert moved == [True, True, True, False]
    assert counters(ledger_database, batch_id) == (2, 0, 0, 0, 0)

    fold_all(ledger_database)

    assert statuses_of(ledger_database, batch_id) == ["opened", "delivered", "failed"]
    assert counters(ledger_database, batch_id) == (2, 1, 0, 0, 0)


def test_an_event_after_the_fold_moves_the_counters(ledger_database, config):
    """A fact outranks what we believed; nobody of another batch is touched."""
    batch_id = make_started(ledger_database, config, recipients=2)
    finish(ledger_database, batch_id, unknown=1, failed=2)
    fold_all(ledger_database)

    with ledger_database.transaction() as connection:
        for seq, status in ((0, "bounced"), (1, "complained"), (9, "sent")):
            reported(connection, batch_id, seq, status)

    assert counters(ledger_database, batch_id) == (2, 0, 0, 0, 0)


def test_a_late_fact_moves_recipient_and_counters(ledger_database, config):
    """Unknown gives way to sent, also after completion."""
    batch_id = make_started(ledger_database, config, recipients=2)
    finish(ledger_database, batch_id, unknown=3)
    fold_all(ledger_database)
    complete(ledger_database)
    assert counters(ledger_database, batch_id) == (0, 0, 2, 0, 0)

    with ledger_database.statement() as connection:
        ledger.add_late_facts(connection, str(batch_id), 0, sent=1, size=2)
    fold_all(ledger_database)

    assert statuses_of(ledger_database, batch_id) == ["sent", "unknown"]
    assert counters(ledger_database, batch_id) == (1, 0, 1, 0, 0)


def test_a_batch_is_completed_when_nothing_is_left(ledger_database, config):
    """No row open, claimed or unfolded; a second time changes nothing."""
    batch_id = make_started(ledger_database, config, recipients=2, chunk=1)
    complete(ledger_database)
    finish(ledger_database, batch_id, no=0)
    assert str(batch_id) not in complete(ledger_database)
    claimed(ledger_database, batch_id, no=1)
    fold_all(ledger_database)
    assert str(batch_id) not in complete(ledger_database)
    set_chunk(ledger_database, batch_id, "lease_until = null", no=1)
    finish(ledger_database, batch_id, no=1)
    assert str(batch_id) not in complete(ledger_database)
    fold_all(ledger_database)

    assert complete(ledger_database) == [str(batch_id)]
    assert complete(ledger_database) == []
    batch = fields_of(ledger_database, "batches", batch_id)
    assert batch["status"] == "completed"
    assert batch["finished_at"] >= batch["started_at"]


def test_a_paused_batch_may_complete_and_a_cancelled_one_ends(ledger_database, config):
    """`paused → completed` exists; cancelled stays cancelled and gets its end."""
    paused, cancelled = (
        make_started(ledger_database, config, recipients=2) for _ in range(2)
    )
    finish(ledger_database, paused)
    with ledger_database.transaction() as connection:
        control.pause_batch(connection, config["tenant_id"], paused)
        control.cancel_batch(connection, config["tenant_id"], cancelled)
    assert fields_of(ledger_database, "batches", cancelled)["finished_at"] is None

    fold_all(ledger_database)
    finished = complete(ledger_database)

    assert set(finished) == {str(paused), str(cancelled)}
    assert fields_of(ledger_database, "batches", paused)["status"] == "completed"
    ended = fields_of(ledger_database, "batches", cancelled)
    assert (ended["status"], ended["cancelled"]) == ("cancelled", 2)
    assert ended["finished_at"] is not None


def test_a_batch_that_repeats_waits_for_its_unknown(ledger_database):
    """`at_least_once`: not before they were tried again as often as they may be."""
    config = make_config(ledger_database, policy="at_least_once")
    batch_id = make_started(ledger_database, config, recipients=2)
    finish(ledger_database, batch_id, unknown=1)
    fold_all(ledger_database)

    assert complete(ledger_database) == []
    set_chunk(ledger_database, batch_id, "reopened = 3")
    assert complete(ledger_database) == [str(batch_id)]
