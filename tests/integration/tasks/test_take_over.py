"""What a lost, stopped or stopping holder leaves, and who takes it up."""

import pytest
from sqlalchemy import text

from brokers.delivery import Choice
from models.outcome import Outcome
from models.queries import control
from tests.factories import (
    claimed,
    fields_of,
    finish,
    set_chunk,
)

LEASE_OVER = "lease_until = now() - interval '9 s'"
AT_ONCE = "not_before = null"


def change(database, action, batch_id):
    tenant_id = fields_of(database, "batches", batch_id)["tenant_id"]
    with database.transaction() as connection:
        action(connection, tenant_id, batch_id)


def test_without_a_key_a_lost_workers_call_is_unknown(
    start, deliver, row, sink, ledger_database
):
    """Nobody calls it again; the others are called."""
    batch_id = start()
    claimed(ledger_database, batch_id, calls=[0b011])
    set_chunk(ledger_database, batch_id, LEASE_OVER)

    assert deliver(batch_id, times=2).choice is Choice.ACK

    found = row(batch_id)
    assert (found["sent"], found["unknown"]) == ("001", "110")
    assert [call.seqs for call in sink.calls(batch_id)] == ["2"]


def test_a_lost_workers_record_is_taken_for_its_answer(
    *, start, deliver, row, sink, ledger_database, worker
):
    """What it had put into Dragonfly before it died."""
    batch_id = start()
    claimed(ledger_database, batch_id, calls=[0b111])
    record = Outcome(sent=0b011, failed=0b100, provider_ids={0: "m"})
    worker.outcomes.record(str(batch_id), 0, 1, 0, 3, record)
    set_chunk(ledger_database, batch_id, LEASE_OVER)

    assert deliver(batch_id, times=2).choice is Choice.ACK

    found = row(batch_id)
    assert (found["sent"], found["failed"]) == ("110", "001")
    assert found["provider_ids"] == ["m", None, None]
    assert sink.calls(batch_id) == []


def test_an_earlier_holders_record_proves_only_who_was_sent(
    *, start, deliver, row, sink, ledger_database, worker
):
    """Since then the refused may have been called again, and taken."""
    batch_id = start()
    claimed(ledger_database, batch_id, calls=[0b111])
    record = Outcome(sent=0b001, failed=0b110)
    worker.outcomes.record(str(batch_id), 0, 1, 0, 3, record)
    set_chunk(ledger_database, batch_id, f"token = 2, {LEASE_OVER}")

    deliver(batch_id, times=2)

    found = row(batch_id)
    sets = found["sent"], found["failed"], found["unknown"]
    assert sets == ("100", "000", "011")
    assert sink.calls(batch_id) == []


@pytest.mark.parametrize("keyed", [False, True])
def test_a_cancelled_batchs_calls_are_not_repeated(
    *, start, deliver, row, sink, ledger_database, keyed
):
    """In doubt → unknown, never cancelled; the rest is cancelled."""
    batch_id = start(idempotencyKeys=keyed)
    claimed(ledger_database, batch_id, calls=[0b001])
    change(ledger_database, control.cancel_batch, batch_id)
    set_chunk(ledger_database, batch_id, LEASE_OVER)

    assert deliver(batch_id, times=2).choice is Choice.ACK

    found = row(batch_id)
    assert (found["state"], found["unknown"]) == ("done", "100")
    assert found["cancelled"] == "011"
    assert sink.calls(batch_id) == []


def test_a_call_in_doubt_waits_while_its_batch_is_paused(
    start, deliver, row, sink, ledger_database
):
    """Under a key it is unknown only when the key grew too old."""
    batch_id = start(idempotencyKeys=True)
    sink.control(hang=True, times=1)
    deliver(batch_id)
    change(ledger_database, control.pause_batch, batch_id)
    set_chunk(ledger_database, batch_id, AT_ONCE)

    assert deliver(batch_id, times=2).choice is Choice.ACK

    found = row(batch_id)
    assert (found["state"], found["unknown"], found["published_at"]) == (
        "claimed", "000", None,
    )  # fmt: skip
    assert len(sink.calls(batch_id)) == 1
    sink.control()
    change(ledger_database, control.resume_batch, batch_id)
    set_chunk(ledger_database, batch_id, AT_ONCE)
    assert deliver(batch_id).choice is Choice.ACK
    assert row(batch_id)["sent"] == "111"
    assert len({call.key for call in sink.calls(batch_id)}) == 1


def test_a_call_in_doubt_waits_while_its_config_is_held(
    start, deliver, row, sink, ledger_database
):
    """No quota, no call; the message comes back later, or is published anew."""
    batch_id = start(idempotencyKeys=True)
    sink.control(hang=True, times=1)
    deliver(batch_id)
    hold = "update send_configs set held_reason = 'quota' where id ="
    hold += " (select config_id from batches where id = :id)"
    with ledger_database.statement() as connection:
        connection.execute(text(hold), {"id": batch_id})
    set_chunk(ledger_database, batch_id, AT_ONCE)

    comes_back = deliver(batch_id, times=2).choice is Choice.POSTPONE

    found = row(batch_id)
    assert comes_back or found["published_at"] is None
    assert (found["state"], found["unknown"]) == ("claimed", "000")
    assert len(sink.calls(batch_id)) == 1


class Meanwhile:
    """A provider during whose first call something happens."""

    def __init__(self, provider, happens):
        self._provider = provider
        self._happens = happens

    def send(self, call):
        answer = self._provider.send(call)
        happens, self._happens = self._happens, lambda: None
        happens()
        return answer


@pytest.fixture
def during_call(worker, monkeypatch):
    def put(batch_id, happens):
        sender = worker.senders.of(str(batch_id))
        meanwhile = Meanwhile(sender.provider, happens)
        known = worker.senders._senders
        fields = (sender.plan, sender.templates, meanwhile)
        monkeypatch.setitem(known, str(batch_id), type(sender)(*fields))

    return put


def test_a_pause_stops_a_holder_at_the_next_group(
    *, start, deliver, row, sink, ledger_database, during_call
):
    """The call begun is finished and written; the message is acked."""
    batch_id = start(recipients=4, maxBatch=2)
    during_call(
        batch_id, lambda: change(ledger_database, control.pause_batch, batch_id)
    )

    assert deliver(batch_id).choice is Choice.ACK

    found = row(batch_id)
    assert (found["state"], found["sent"]) == ("open", "1100")
    assert found["published_at"] is None
    assert len(sink.calls(batch_id)) == 1


def test_who_was_stopped_and_lost_its_row_hands_in_facts(
    *, start, deliver, row, sink, ledger_database, during_call
):
    """Its one call went out; it begins none, and settles nothing."""
    batch_id = start(recipients=4, maxBatch=2)

    def stolen():
        set_chunk(ledger_database, batch_id, LEASE_OVER)
        claimed(ledger_database, batch_id)

    during_call(batch_id, stolen)

    assert deliver(batch_id).choice is Choice.LEAVE

    found = row(batch_id)
    assert (found["token"], found["state"], found["late"]) == (2, "claimed", "1100")
    assert len(sink.calls(batch_id)) == 1
    set_chunk(ledger_database, batch_id, LEASE_OVER)
    assert deliver(batch_id, times=2).choice is Choice.ACK
    assert row(batch_id)["sent"] == "1111"
    assert [call.seqs for call in sink.calls(batch_id)] == ["0-1", "2-3"]


def test_a_copy_of_what_is_done_is_acked(start, deliver, sink, ledger_database):
    """Copies are harmless."""
    batch_id = start()
    finish(ledger_database, batch_id)

    assert deliver(batch_id).choice is Choice.ACK

    assert sink.calls(batch_id) == []


def test_somebody_tried_again_who_unsubscribed_is_not_called(
    start, deliver, row, sink, ledger_database
):
    """`at_least_once` repeats nobody who is on a suppression list by now."""
    batch_id = start(policy="at_least_once")
    finish(ledger_database, batch_id, unknown=0b011, doubt=0b011)
    reopened = "state = 'open', unknown = b'000', reopened = 1, done_at = null"
    set_chunk(ledger_database, batch_id, reopened)

    assert deliver(batch_id, suppressed=[0]).choice is Choice.ACK

    assert (row(batch_id)["sent"], row(batch_id)["unknown"]) == ("011", "100")
    assert [call.seqs for call in sink.calls(batch_id)] == ["1"]
