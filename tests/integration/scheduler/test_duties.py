"""Discovery, recovery and the event log do what is left to do, and no more."""

import uuid

import dramatiq
import pytest

from analytics.client import connect
from analytics.event_log import EventLog
from analytics.migrations import migrate
from brokers import dispatch
from models.errors import NeighbourUnavailableError
from models.queries import fold, messages
from scheduler.discovery import discover
from scheduler.event_log import log_events
from scheduler.recovery import Recovery
from tests.factories import (
    claimed,
    fields_of,
    finish,
    make_batch,
    make_config,
    make_started,
    set_chunk,
)


@pytest.fixture
def broker(nats_url):
    encoder = dramatiq.get_encoder()
    broker = dispatch.connect(nats_url, middleware=[])
    broker.declare_queue("batch")
    yield broker
    broker.close()
    dramatiq.set_encoder(encoder)


def asked(broker):
    return sum(broker.stored("batch").values())


def test_a_queued_batch_is_started_and_its_expansion_asked_for(
    ledger_database, config, broker
):
    """By one leader or two; asked again only after a while, and while work is left."""
    batch_id = make_batch(ledger_database, config, recipients=3)
    before = asked(broker)

    discover(ledger_database, broker)
    discover(ledger_database, broker)

    batch = fields_of(ledger_database, "batches", batch_id)
    assert batch["status"] == "processing"
    assert asked(broker) == before + 1
    long_ago = "update batches set expanded_at = now() - interval '9 s'"
    with ledger_database.statement() as connection:
        connection.exec_driver_sql(long_ago)
    discover(ledger_database, broker)
    assert asked(broker) == before + 2

    with ledger_database.statement() as connection:
        connection.exec_driver_sql(long_ago)
    set_chunk(ledger_database, batch_id, "published_at = now()")
    discover(ledger_database, broker)
    assert asked(broker) == before + 2


def recovery(database, stored, **times):
    times = {"unknown_window_s": 90, "stuck_after_s": 300, **times}
    return Recovery(database, lambda: stored, **times)


def test_messages_missing_twice_running_are_published_anew(ledger_database, config):
    """Once may be a worker's ack on its way; slow is never mistaken for stuck."""
    batch_id = make_started(ledger_database, config, recipients=3, chunk=1)
    for no in range(3):
        set_chunk(ledger_database, batch_id, "published_at = now()", no=no)
    claimed(ledger_database, batch_id, no=2)
    tenant = str(config["tenant_id"])
    whole, short = {tenant: 3}, {tenant: 2}

    seen = []
    stored: dict[str, int] = {}
    leader = recovery(ledger_database, stored)
    for now in (short, whole, short, short, whole):
        stored.clear()
        stored.update(now)
        leader.recover()
        rows = [fields_of(ledger_database, "chunks", batch_id, no=n) for n in range(3)]
        seen.append([row["epoch"] for row in rows])

    assert seen == [[0, 0, 0]] * 3 + [[1, 1, 0]] * 2


def test_missing_single_messages_are_published_anew(ledger_database, config):
    """They have one queue for all tenants, and do not count among a tenant's chunks."""
    batch_id = make_started(ledger_database, config, recipients=1)
    message_id = make_started(ledger_database, config, recipients=1)
    with ledger_database.statement() as connection:
        connection.exec_driver_sql(
            f"update batches set priority = true where id = '{message_id}'"
        )
    for one in (batch_id, message_id):
        set_chunk(ledger_database, one, "published_at = now()")
    stored = {str(config["tenant_id"]): 1, "": 0}

    leader = recovery(ledger_database, stored)
    for _ in range(2):
        leader.recover()

    rows = [
        fields_of(ledger_database, "chunks", one, no=0)
        for one in (batch_id, message_id)
    ]
    assert [row["epoch"] for row in rows] == [0, 1]
    with ledger_database.statement() as connection:
        left = messages.unpublished_messages(connection, most=9, own_time_s=0)
    assert [(job.batch_id, job.epoch) for job in left] == [(str(message_id), 1)]


def test_while_nats_is_away_its_tenants_read_why_nothing_moves(ledger_database, config):
    """The next round asks again."""
    encoder = dramatiq.get_encoder()
    away = dispatch.connect("nats://127.0.0.1:9", middleware=[], publish_timeout_s=0.5)
    batch_id = make_started(ledger_database, config)

    with pytest.raises(NeighbourUnavailableError, match="start it"):
        discover(ledger_database, away)

    dramatiq.set_encoder(encoder)
    batch = fields_of(ledger_database, "batches", batch_id)
    assert (batch["status"], "NATS" in batch["reason"]) == ("processing", True)


def test_while_nats_is_away_nothing_is_published_anew(ledger_database, config):
    """Nobody can tell what it holds."""
    batch_id = make_started(ledger_database, config, recipients=1)
    set_chunk(ledger_database, batch_id, "published_at = now()")

    def away():
        raise NeighbourUnavailableError("NATS does not answer.")

    leader = Recovery(ledger_database, away, unknown_window_s=90, stuck_after_s=300)
    for _ in range(2):
        with pytest.raises(NeighbourUnavailableError):
            leader.recover()

    assert fields_of(ledger_database, "chunks", batch_id, no=0)["epoch"] == 0


def test_a_batch_that_does_not_move_is_published_anew(ledger_database, config):
    """Whatever the queue holds."""
    batch_id = make_started(ledger_database, config, recipients=1)
    set_chunk(ledger_database, batch_id, "published_at = now() - interval '1 h'")
    with ledger_database.statement() as connection:
        connection.exec_driver_sql(
            f"update batches set started_at = now() - interval '1 h'"
            f" where id = '{batch_id}'"
        )

    recovery(ledger_database, {str(config["tenant_id"]): 9}).recover()

    row = fields_of(ledger_database, "chunks", batch_id, no=0)
    assert (row["epoch"], row["published_at"]) == (1, None)


def test_who_stayed_unknown_is_tried_again_after_the_window(ledger_database):
    """Only where the policy says so."""
    rows = []
    for policy in ("at_least_once", "at_most_once"):
        config = make_config(ledger_database, policy=policy)
        batch_id = make_started(ledger_database, config, recipients=2)
        finish(ledger_database, batch_id, unknown=1)
        with ledger_database.transaction() as connection:
            fold.fold(connection, chunks=100)
        set_chunk(ledger_database, batch_id, "done_at = now() - interval '100 s'")

        recovery(ledger_database, {}).recover()

        rows.append(fields_of(ledger_database, "chunks", batch_id, no=0))
    assert [row["state"] for row in rows] == ["open", "done"]


@pytest.fixture
def log_url(clickhouse_url):
    return f"{clickhouse_url.rpartition('/')[0]}/test_{uuid.uuid4().hex}"


def test_folded_chunks_are_logged_once_they_are_old_enough(
    ledger_database, config, log_url
):
    """A row folded again is logged again; it counts once there."""
    client = connect(log_url, timeout_s=20)
    migrate(client)
    event_log = EventLog(client)
    batch_id = make_started(ledger_database, config, recipients=4, chunk=2)
    finish(ledger_database, batch_id, no=0, failed=1)
    finish(ledger_database, batch_id, no=1, unknown=2)
    with ledger_database.transaction() as connection:
        fold.fold(connection, chunks=100)
    old = "folded_at = now() - interval '9 s'"
    for _ in range(2):
        for no in (0, 1):
            set_chunk(ledger_database, batch_id, f"{old}, logged_at = null", no=no)
        assert log_events(ledger_database, event_log) >= 2
        assert log_events(ledger_database, event_log) == 0

    found = client.rows(
        "SELECT event, count() FROM email_events FINAL"
        f" WHERE batch_id = '{batch_id}' GROUP BY event ORDER BY event"
    )
    assert [tuple(row) for row in found] == [
        ("failed", 1), ("queued", 4), ("sent", 2), ("unknown", 1),
    ]  # fmt: skip
    client.close()


def test_events_wait_in_the_ledger_while_clickhouse_is_away(ledger_database, config):
    """Nothing is marked that was not inserted."""
    batch_id = make_started(ledger_database, config, recipients=1)
    finish(ledger_database, batch_id)
    set_chunk(ledger_database, batch_id, "folded_at = now() - interval '9 s'")
    client = connect("http://127.0.0.1:9/nowhere", timeout_s=1)

    with pytest.raises(NeighbourUnavailableError):
        log_events(ledger_database, EventLog(client))

    assert fields_of(ledger_database, "chunks", batch_id, no=0)["logged_at"] is None
