"""A single message is a chunk of one, and owed what every chunk is."""

import time
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import text

from brokers import Delivery
from brokers.delivery import Choice
from models.limit import Limit
from models.plan import Plan
from models.queries import messages
from tasks import send
from tests.factories import fields_of, make_config


@pytest.fixture
def taken(ledger_database, sink):
    """Take a message for the sink, as the API does, and return its job."""

    def take(*, limit=None, **settings):
        config = make_config(
            ledger_database, limit=limit, **{"url": sink.url, **settings}
        )
        payload = {"text": "Hello {{name}}"}
        batch = {"id": uuid4(), "tenant_id": config["tenant_id"], "payload": payload}
        plan = Plan.seal(batch, config, largest_chunk=1)
        with ledger_database.statement() as connection:
            job = messages.take_message(
                connection,
                plan,
                payload,
                address="ada@example.com",
                variables='{"name": "Ada"}',
            )
        return replace(job, published_at=time.time())

    return take


@pytest.fixture
def deliver_message(worker):
    def delivered(job, *, times=1):
        reply = f"$JS.ACK.email-system.priority.{times}.7.9.1763800000000000000.0"
        delivery = Delivery("priority", reply, 45.0)
        send.send(worker, job.chunk, delivery, urgent=True)
        return delivery

    return delivered


@pytest.mark.parametrize("how", ["carried", "by name"])
def test_a_message_is_sent_once(*, taken, deliver_message, row, sink, how):
    """Whether the job carries it or the worker reads it; a copy calls nobody."""
    job = taken()
    job = job if how == "carried" else job.by_name()

    assert deliver_message(job).choice is Choice.ACK
    assert deliver_message(job, times=2).choice is Choice.ACK

    assert (row(job.batch_id)["state"], row(job.batch_id)["sent"]) == ("done", "1")
    assert [call.seqs for call in sink.calls(job.batch_id)] == ["0"]


def test_no_answer_is_unknown_and_never_repeated(taken, deliver_message, row, sink):
    """At most once holds for a single message as for any chunk."""
    job = taken()
    sink.control(hang=True, times=1)

    assert deliver_message(job).choice is Choice.ACK
    deliver_message(job, times=2)

    assert row(job.batch_id)["unknown"] == "1"
    assert len(sink.calls(job.batch_id)) == 1


def test_who_was_on_a_list_is_not_called(
    *, taken, deliver_message, row, sink, ledger_database
):
    """Known when it was taken, or, travelling by name, found in the tables."""
    with ledger_database.statement() as connection:
        connection.execute(
            text("insert into suppressions (channel, address, reason)"
                 " values ('email', 'ada@example.com', 'asked')")
        )  # fmt: skip
    known, named = taken(), taken()

    deliver_message(known)
    deliver_message(named.by_name())

    with ledger_database.statement() as connection:
        connection.exec_driver_sql("delete from suppressions")
    assert known.suppressed
    for job in (known, named):
        assert row(job.batch_id)["suppressed"] == "1"
        assert sink.calls(job.batch_id) == []


def test_a_message_waits_for_its_configs_limit(
    *, taken, deliver_message, row, sink, worker, ledger_database
):
    """It takes from the same bucket as the batches of its config."""
    job = taken(limit=Limit(1.0, 3.0))
    buckets = buckets_of(worker, job)
    while not worker.limiter.take(buckets, 1):
        pass

    assert deliver_message(job).choice is Choice.POSTPONE

    assert row(job.batch_id)["token"] == 0
    assert fields_of(ledger_database, "batches", job.batch_id)["priority"]
    assert sink.calls(job.batch_id) == []


def test_a_single_token_is_found_before_a_groups(taken, worker):
    """A batch that takes all there is, a group at a time, leaves room for one.

    So a message waits for its config's rate at most as long as one token takes to
    come, give or take, and not for a group's.
    """
    job = taken(limit=Limit(50.0, 50.0))
    buckets = buckets_of(worker, job)
    groups, waits = [], []
    for _ in range(50):
        wait_s = worker.limiter.take(buckets, 50)
        groups.append(wait_s)
        shortage = worker.limiter.ask(buckets, 1, first=True) if wait_s else None
        waits.append(shortage.wait_s if shortage else 0.0)

    assert max(waits) <= 0.5
    assert max(groups) > 2.0


def buckets_of(worker, job):
    plan = worker.senders.of(job.batch_id).plan
    return [level.bucket for level in worker.limits.of(plan)]
