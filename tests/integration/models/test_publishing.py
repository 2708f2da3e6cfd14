"""A queued batch gets its ledger once; what is left to publish is a query."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from threading import Barrier

import orjson
import pytest
from sqlalchemy import text

from models.errors import ConflictError
from models.queries import control, fold, publishing
from tests.factories import (
    claimed,
    fields_of,
    finish,
    make_batch,
    make_config,
    make_started,
    set_chunk,
    statuses_of,
)


@pytest.fixture(scope="module")
def config(ledger_database):
    return make_config(ledger_database)


def start(database):
    with database.transaction() as connection:
        return publishing.start_due_batches(connection)


def ranges(database, batch_id):
    with database.statement() as connection:
        found = connection.execute(
            text("select first, last from chunks where batch_id = :id order by no"),
            {"id": batch_id},
        )
        return [tuple(row) for row in found]


def page(database, batch_id, *, chunks=10):
    with database.statement() as connection:
        plan = publishing.sealed_plan(connection, str(batch_id))
        return publishing.next_page(connection, plan, chunks=chunks)


def to_expand(database):
    with database.statement() as connection:
        return publishing.batches_to_expand(connection, again_s=0)


@pytest.mark.parametrize(
    ("recipients", "chunks"), [(1, 1), (499, 1), (500, 1), (501, 2), (1000, 2)]
)
def test_the_chunks_partition_the_batch(ledger_database, config, recipients, chunks):
    """From seq 0 to the last, without a gap; bit strings as long as each range."""
    batch_id = make_started(ledger_database, config, recipients=recipients)

    found = ranges(ledger_database, batch_id)

    assert len(found) == chunks
    assert (found[0][0], found[-1][1]) == (0, recipients - 1)
    assert all(one[1] + 1 == next_one[0] for one, next_one in pairwise(found))
    last = fields_of(ledger_database, "chunks", batch_id, no=chunks - 1)
    assert last["late"] == "0" * (last["last"] - last["first"] + 1)


def test_two_leaders_make_one_ledger(ledger_database, config):
    """At once or one after the other."""
    batch_id = make_batch(ledger_database, config, recipients=7, chunk=3)
    together = Barrier(2)

    def lead(_):
        together.wait()
        return start(ledger_database)

    with ThreadPoolExecutor(2) as both:
        started = [found for leader in both.map(lead, range(2)) for found in leader]
    once = fields_of(ledger_database, "batches", batch_id)

    assert started == [batch_id]
    assert start(ledger_database) == []
    assert ranges(ledger_database, batch_id) == [(0, 2), (3, 5), (6, 6)]
    assert fields_of(ledger_database, "batches", batch_id) == once


def test_a_scheduled_batch_waits_for_its_time(ledger_database, config):
    """Postgres' clock tells."""
    later = datetime.now(UTC) + timedelta(hours=1)
    batch_id = make_batch(ledger_database, config, scheduled_at=later)
    assert start(ledger_database) == []

    with ledger_database.statement() as connection:
        connection.execute(
            text("update batches set scheduled_at = now() where id = :id"),
            {"id": batch_id},
        )

    assert start(ledger_database) == [batch_id]


def test_a_batch_without_recipients_is_not_queued(ledger_database, config):
    """It would have no row, and nothing would ever end it."""
    with pytest.raises(ConflictError, match="no recipients"):
        make_batch(ledger_database, config, recipients=0)


def test_a_page_holds_its_recipients_in_order(ledger_database, config):
    """As JSON, position by position."""
    batch_id = make_started(ledger_database, config, recipients=5, chunk=2)

    first, second = page(ledger_database, batch_id, chunks=2)

    assert (first.no, second.no, second.first, second.size) == (0, 1, 2, 2)
    assert orjson.loads(second.addresses) == ["user2@example.com", "user3@example.com"]
    assert orjson.loads(first.variables) == [{"name": "Name 0"}, {"name": "Name 1"}]


def test_what_is_published_done_held_or_not_due_is_not_in_a_page(
    ledger_database, config
):
    """A row whose holder is gone is; nothing of a paused batch is."""
    batch_id = make_started(ledger_database, config, recipients=6, chunk=1)
    finish(ledger_database, batch_id, no=0)
    claimed(ledger_database, batch_id, no=1)
    set_chunk(ledger_database, batch_id, "published_at = now()", no=2)
    delay = "not_before = now() + interval '9 s'"
    set_chunk(ledger_database, batch_id, delay, no=3)
    claimed(ledger_database, batch_id, no=4)
    set_chunk(ledger_database, batch_id, "lease_until = null", no=4)

    assert [chunk.no for chunk in page(ledger_database, batch_id)] == [4, 5]
    assert to_expand(ledger_database).count(batch_id) == 1
    with ledger_database.transaction() as connection:
        control.pause_batch(connection, config["tenant_id"], batch_id)
    assert page(ledger_database, batch_id) == []
    assert batch_id not in to_expand(ledger_database)


def test_a_mark_counts_only_for_its_own_decision(ledger_database, config):
    """A worker may have given the chunk back before the mark came."""
    batch_id = make_started(ledger_database, config, recipients=2, chunk=1)
    set_chunk(ledger_database, batch_id, "epoch = 1", no=1)

    with ledger_database.statement() as connection:
        publishing.mark_published(connection, str(batch_id), [(0, 0), (1, 0)])

    assert [chunk.no for chunk in page(ledger_database, batch_id)] == [1]
    with ledger_database.statement() as connection:
        assert publishing.chunks_out(connection, str(config["id"])) >= 1


def test_the_suppressed_are_found_by_tenant_and_channel(ledger_database, config):
    """A global list counts for everybody."""
    batch_id = make_started(ledger_database, config, recipients=4)
    with ledger_database.transaction() as connection:
        plan = publishing.sealed_plan(connection, str(batch_id))
        assert publishing.suppressed_seqs(connection, plan, 0, 3) == set()
        other = make_config(ledger_database)["tenant_id"]
        for tenant_id, channel, seq in (
            (config["tenant_id"], "email", 0),
            (None, "email", 1),
            (config["tenant_id"], "sms", 2),
            (other, "email", 3),
        ):
            connection.execute(
                text("insert into suppressions (tenant_id, channel, address, reason)"
                     " values (:t, :c, :a, 'asked')"),
                {"t": tenant_id, "c": channel, "a": f"user{seq}@example.com"},
            )  # fmt: skip
    with ledger_database.statement() as connection:
        found = publishing.suppressed_seqs(connection, plan, 0, 3)
        recent = publishing.suppressed_since(connection, horizon_s=60, most=9)
        connection.exec_driver_sql("delete from suppressions")

    assert found == {0, 1}
    assert (None, "email", "user1@example.com") in recent
    assert len(recent) == 4


def test_a_batch_that_cannot_be_sent_fails_as_a_whole(ledger_database, config):
    """Nobody was called, so everybody failed; counters and rows agree."""
    batch_id = make_started(ledger_database, config, recipients=3, chunk=2)

    with ledger_database.transaction() as connection:
        assert publishing.fail_batch(connection, str(batch_id), "No such setting.")
        assert not publishing.fail_batch(connection, str(batch_id), "Again.")
    with ledger_database.transaction() as connection:
        fold.fold(connection, chunks=10)

    batch = fields_of(ledger_database, "batches", batch_id)
    assert (batch["status"], batch["failed"]) == ("failed", 3)
    assert batch["reason"] == "No such setting."
    assert statuses_of(ledger_database, batch_id) == ["failed"] * 3


def test_a_batch_of_which_a_chunk_was_claimed_does_not_fail(ledger_database, config):
    """Somebody may have been called."""
    batch_id = make_started(ledger_database, config, recipients=2, chunk=1)
    claimed(ledger_database, batch_id, calls=[1])

    with ledger_database.transaction() as connection:
        assert not publishing.fail_batch(connection, str(batch_id), "No.")

    assert fields_of(ledger_database, "batches", batch_id)["status"] == "processing"
