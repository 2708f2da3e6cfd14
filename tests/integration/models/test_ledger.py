"""The row decides who may call whom, whoever asks, how often and when."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from uuid import uuid4

import pytest
from sqlalchemy import text

from models import chunk as rules
from models.chunk import Chunk
from models.outcome import Answer
from models.queries import closing, control, ledger
from tests.factories import (
    claimed,
    fields_of,
    finish,
    make_batch,
    make_config,
    make_started,
    set_chunk,
)

LEASE = {"lease_s": 45, "margin_s": 5}
TURNED_AWAY = Answer(taken_up=False)


@pytest.fixture
def config(ledger_database):
    return make_config(ledger_database, idempotencyKeys=True)


@pytest.fixture
def batch_id(ledger_database, config):
    return make_started(ledger_database, config, recipients=4)


def advance(database, held, then=None, **options):
    with database.statement() as connection:
        return ledger.advance(connection, held, then=then, lease_s=45, **options)


def look(database, batch_id):
    with database.statement() as connection:
        return ledger.look(connection, str(batch_id), 0, margin_s=5)


def change_config(database, config, change):
    with database.statement() as connection:
        connection.execute(
            text(f"update send_configs set {change} where id = :id"),
            {"id": config["id"]},
        )


def test_of_two_who_claim_at_once_one_wins(ledger_database, batch_id):
    """There is no second way to a call."""
    start = Barrier(2)

    def claim(_):
        start.wait()
        return claimed(ledger_database, batch_id, calls=[0b1111])

    with ThreadPoolExecutor(2) as both:
        won = [held for held in both.map(claim, range(2)) if held]

    assert [held.token for held in won] == [1]
    assert won[0].calling == 0b1111


def test_a_claim_whose_reply_was_lost_is_found_by_its_id(ledger_database, batch_id):
    """It is asked, never assumed; another's claim is not ours."""
    fresh = rules.begun(Chunk(str(batch_id), 0, 0, 4), [3], account="a:1", at=1.5)
    claim_id = uuid4()
    with ledger_database.statement() as connection:
        ledger.claim(connection, fresh, claim_id, **LEASE)
        mine = ledger.claimed_as(connection, fresh, claim_id)
        other = ledger.claimed_as(connection, fresh, uuid4())

    assert mine is not None
    assert mine == (replace(fresh, token=1), "processing")
    assert other is None


def test_only_what_nobody_touched_is_claimed_with_new_calls(ledger_database, batch_id):
    """What an earlier holder left in call is neither lost nor called anew."""
    held = claimed(ledger_database, batch_id, calls=[1])
    advance(
        ledger_database, rules.answered(held, held.in_call[0], TURNED_AWAY, keyed=True)
    )

    again = claimed(ledger_database, batch_id, calls=[0b1111])

    assert (again.token, again.in_call, again.calls) == (2, (), 1)


def test_a_lease_is_taken_over_only_well_after_its_end(ledger_database, batch_id):
    """5 s late; it counts as a crash, and the calls are the taker's to decide."""
    before = claimed(ledger_database, batch_id, calls=[0b0011])
    set_chunk(ledger_database, batch_id, "lease_until = now() - interval '3 s'")
    assert claimed(ledger_database, batch_id) is None
    assert 1 < look(ledger_database, batch_id).wait_s < 2.1

    set_chunk(ledger_database, batch_id, "lease_until = now() - interval '6 s'")
    after = claimed(ledger_database, batch_id)

    assert (after.token, after.crashes) == (2, 1)
    assert after.in_call == before.in_call


def test_a_lease_that_its_holder_ended_is_no_crash(ledger_database, batch_id):
    """A call in doubt is repeated later; nobody died."""
    held = claimed(ledger_database, batch_id, calls=[0b1111])
    none = Answer(unanswered=0b1111)
    doubted = rules.answered(held, held.in_call[0], none, keyed=True)
    advanced = advance(ledger_database, doubted)
    assert not advanced.done

    again = claimed(ledger_database, batch_id)

    assert (again.token, again.crashes) == (2, 0)
    assert (again.in_call, again.doubt) == (held.in_call, 0b1111)


def pause(database, config, batch_id):
    with database.transaction() as connection:
        control.pause_batch(connection, config["tenant_id"], batch_id)


def cancel(database, config, batch_id):
    with database.transaction() as connection:
        control.cancel_batch(connection, config["tenant_id"], batch_id)


def hold(database, config, batch_id):
    change_config(database, config, "held_reason = 'quota'")


def delay(database, config, batch_id):
    set_chunk(database, batch_id, "not_before = now() + interval '9 s'")


@pytest.mark.parametrize("stop", [pause, cancel, hold, delay])
def test_nothing_is_claimed_of_what_stands_still(
    ledger_database, config, batch_id, stop
):
    """Paused, cancelled, held or not due: no call begins."""
    stop(ledger_database, config, batch_id)

    assert claimed(ledger_database, batch_id, calls=[1]) is None
    seen = look(ledger_database, batch_id)
    reasons = (seen.status != "processing", seen.held_reason, seen.wait_s > 8)
    assert any(reasons)


@pytest.mark.parametrize(("stop", "status"), [(pause, "paused"), (hold, "held")])
def test_who_takes_over_learns_that_the_batch_stands(
    ledger_database, config, batch_id, stop, status
):
    """Calls begun are not repeated now, and not given up either."""
    claimed(ledger_database, batch_id, calls=[1])
    set_chunk(ledger_database, batch_id, "lease_until = null")
    stop(ledger_database, config, batch_id)
    fresh = Chunk(str(batch_id), 0, 0, 4)

    with ledger_database.statement() as connection:
        claim_id = uuid4()
        assert ledger.claim(connection, fresh, claim_id, **LEASE)[1] == status
        assert ledger.claimed_as(connection, fresh, claim_id)[1] == status


def test_who_lost_the_row_changes_nothing(ledger_database, batch_id):
    """Answers of a former holder come in as facts, not as an advance."""
    former = claimed(ledger_database, batch_id, calls=[0b1111])
    set_chunk(ledger_database, batch_id, "lease_until = null")
    claimed(ledger_database, batch_id)
    before = fields_of(ledger_database, "chunks", batch_id, no=0)

    assert advance(ledger_database, replace(former, sent=15, in_call=())) is None

    assert fields_of(ledger_database, "chunks", batch_id, no=0) == before


def test_the_next_calls_are_declared_only_while_the_batch_runs(
    ledger_database, config, batch_id
):
    """A holder stops at the next group; what was answered is written all the same."""
    held = claimed(ledger_database, batch_id, calls=[0b0011])
    answer = Answer(accepted=0b11)
    held = rules.answered(held, held.in_call[0], answer, keyed=True)
    then = rules.begun(held, [0b1100], account="a:1", at=0.0)
    pause(ledger_database, config, batch_id)

    advanced = advance(ledger_database, held, then)

    assert (advanced.goes_on, advanced.status) == (False, "paused")
    row = fields_of(ledger_database, "chunks", batch_id, no=0)
    assert (row["state"], row["sent"], row["in_call"]) == ("open", "1100", [])
    assert (row["calls"], row["published_at"], row["epoch"]) == (1, None, 1)


def test_a_row_given_back_in_the_moment_of_a_cancel_is_closed(
    ledger_database, config, batch_id
):
    """The cancel saw it claimed, its holder saw the batch running: sync closes it."""
    held = claimed(ledger_database, batch_id, calls=[0b0001])
    none = rules.answered(held, held.in_call[0], Answer(unanswered=1), keyed=False)
    with ledger_database.transaction() as connection:
        control.cancel_batch(connection, config["tenant_id"], batch_id)
        assert not advance(ledger_database, none).done

    with ledger_database.statement() as connection:
        assert closing.close_cancelled(connection) == 1
        assert closing.close_cancelled(connection) == 0
    row = fields_of(ledger_database, "chunks", batch_id, no=0)
    assert (row["state"], row["unknown"], row["cancelled"]) == ("done", "1000", "0111")


def test_a_cancel_calls_nobody_cancelled_who_is_in_doubt(
    ledger_database, config, batch_id
):
    """Open rows close in its own transaction; a late fact even proves who was sent."""
    set_chunk(ledger_database, batch_id, "doubt = b'1100', late = b'0100'")

    cancel(ledger_database, config, batch_id)

    row = fields_of(ledger_database, "chunks", batch_id, no=0)
    sets = row["sent"], row["unknown"], row["cancelled"]
    assert sets == ("0100", "1000", "0011")


def test_only_the_message_that_was_meant_is_taken_back(ledger_database, batch_id):
    """An old copy must not unpublish what was published after it."""
    set_chunk(ledger_database, batch_id, "epoch = 3, published_at = now()")
    with ledger_database.statement() as connection:
        of_old = ledger.unpublish(connection, str(batch_id), 0, epoch=2, wait_s=60)
        of_this = ledger.unpublish(connection, str(batch_id), 0, epoch=3, wait_s=60)

    assert (of_old, of_this) == (False, True)
    row = fields_of(ledger_database, "chunks", batch_id, no=0)
    assert (row["epoch"], row["published_at"]) == (4, None)
    assert look(ledger_database, batch_id).wait_s > 59


def test_a_late_fact_turns_unknown_into_sent_and_is_folded_again(
    ledger_database, batch_id
):
    """At any time; what is decided otherwise stays, and repeats change nothing."""
    finish(ledger_database, batch_id, unknown=0b0011, failed=0b0100)
    set_chunk(ledger_database, batch_id, "folded_at = now(), logged_at = now()")

    with ledger_database.statement() as connection:
        ledger.add_late_facts(connection, str(batch_id), 0, sent=0b1001, size=4)
    once = fields_of(ledger_database, "chunks", batch_id, no=0)

    assert (once["sent"], once["unknown"], once["failed"]) == ("1001", "0100", "0010")
    assert (once["folded_at"], once["logged_at"]) == (None, None)
    set_chunk(ledger_database, batch_id, "folded_at = now()")
    with ledger_database.statement() as connection:
        ledger.add_late_facts(connection, str(batch_id), 0, sent=0b1001, size=4)
    again = fields_of(ledger_database, "chunks", batch_id, no=0)
    assert again["folded_at"] is not None


def test_a_late_fact_waits_for_the_present_holder(ledger_database, batch_id):
    """Whom the taker gave up is sent when the taker writes."""
    claimed(ledger_database, batch_id, calls=[0b0001])
    set_chunk(ledger_database, batch_id, "lease_until = null")
    taker = claimed(ledger_database, batch_id)
    with ledger_database.statement() as connection:
        ledger.add_late_facts(connection, str(batch_id), 0, sent=1, size=4)

    advance(ledger_database, rules.given_up(taker, taker.in_call, "Lost."))

    row = fields_of(ledger_database, "chunks", batch_id, no=0)
    assert (row["state"], row["sent"], row["unknown"]) == ("open", "1000", "0000")


def test_any_text_of_a_provider_can_be_kept(ledger_database, batch_id):
    """Postgres keeps no NUL: one endpoint's answer must not stop the ledger."""
    held = claimed(ledger_database, batch_id, calls=[0b1111])
    answer = Answer(
        accepted=0b0111, failed={3: "a\0b"}, provider_ids=["\0", "x\0y", None, None]
    )
    held = rules.answered(held, held.in_call[0], answer, keyed=True)

    assert advance(ledger_database, held).done

    row = fields_of(ledger_database, "chunks", batch_id, no=0)
    assert row["provider_ids"] == [None, "xy", None, None]
    assert row["errors"] == {"3": "ab"}


def test_nobody_in_two_sets_can_be_written(ledger_database, batch_id):
    """The table itself refuses what no rule allows."""
    held = claimed(ledger_database, batch_id)

    with pytest.raises(Exception, match="chunks_nobody_twice_check"):
        advance(ledger_database, replace(held, sent=1, failed=1))


def test_a_batch_that_is_not_started_has_nothing_to_claim(ledger_database, config):
    """No row, no call."""
    batch_id = make_batch(ledger_database, config)

    assert look(ledger_database, batch_id).state is None
