"""The leader tells what waits, and how its neighbours are."""

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from analytics.client import connect as connect_clickhouse
from brokers import dispatch
from hot_state.breaker import Breakers, scope_of
from hot_state.health import Memory, memory_of
from models.breaker import BreakerRule, Calls
from models.jobs import RecordWebhook
from scheduler import figures as module
from scheduler.figures import Doors, Figures
from tests.factories import finish, make_batch, make_config, make_started, set_chunk


@pytest.fixture
def broker(nats_url):
    broker = dispatch.connect(nats_url, publish_timeout_s=5)
    broker.flush_all()
    yield broker
    broker.close()


@pytest.fixture
def clickhouse(clickhouse_url):
    client = connect_clickhouse(f"{clickhouse_url.rpartition('/')[0]}/system")
    yield client
    client.close()


@pytest.fixture
def doors(*, ledger_database, broker, hot_state, clickhouse):
    return Doors(
        database=ledger_database,
        broker=broker,
        breakers=Breakers(hot_state, BreakerRule(failures=1)),
        memory=lambda: memory_of(hot_state),
        clickhouse=clickhouse,
        stuck_after_s=300,
    )


@pytest.fixture
def no_clickhouse():
    """A ClickHouse that is not there."""
    client = connect_clickhouse("http://127.0.0.1:9/none", timeout_s=1)
    yield client
    client.close()


def told(figures):
    """Return what a scrape finds, by name and labels' values."""
    registry = CollectorRegistry()
    registry.register(figures)
    return {
        (one.name.removeprefix("batchsender_"), *one.labels.values()): one.value
        for family in registry.collect()
        for one in family.samples
    }


def execute(database, statement, **values):
    with database.statement() as connection:
        connection.execute(text(statement), values)


def test_what_waits_is_told_and_what_is_held_back_is_not(doors, ledger_database):
    """Who is paused, held or scheduled for later is nobody's work yet."""
    config = make_config(ledger_database)
    held = make_config(ledger_database)
    execute(ledger_database, "update send_configs set held_reason = 'q' where id = :id",
            id=held["id"])  # fmt: skip
    sent = make_started(ledger_database, config, recipients=3)
    execute(ledger_database, "update batches set sent = 1 where id = :id", id=sent)
    make_batch(ledger_database, config, recipients=4)
    paused = make_started(ledger_database, config, recipients=5)
    execute(ledger_database, "update batches set status = 'paused' where id = :id",
            id=paused)  # fmt: skip
    make_started(ledger_database, held, recipients=6)
    dispatch.send(doors.broker, RecordWebhook("custom", "sent", {}, "id", 0.0))
    figures = Figures(doors)

    figures.look()

    found = told(figures)
    # The queued one had been started with the paused one.
    assert found["waiting_recipients",] == 3 - 1 + 4
    assert found["tenant_waiting_recipients", str(config["tenant_id"])] == 6
    assert ("tenant_waiting_recipients", str(held["tenant_id"])) not in found
    assert found["waiting_events",] == 1
    assert found["active_batches", "processing"] == 3
    assert found["active_batches", "paused"] == 1
    assert found["held_configs", "custom"] == 1
    assert found["stuck_batches",] == 0
    assert found["dramatiq_nats_queue_ready", "webhook"] == 1
    assert found["database_connections",] < found["database_connections_limit",]
    assert ("database_replication_lag_seconds",) not in found
    assert all(found["neighbour_up", name] == 1
               for name in ("nats", "postgres", "dragonfly", "clickhouse"))  # fmt: skip


def test_what_stands_still_is_told_with_its_age(doors, ledger_database):
    """Outcomes that nobody folds, and batches in which nothing moves."""
    config = make_config(ledger_database)
    late = make_started(ledger_database, config, recipients=3)
    finish(ledger_database, late)
    set_chunk(ledger_database, late, "done_at = now() - interval '60 s'")
    stuck = make_started(ledger_database, config, recipients=3)
    execute(ledger_database,
            "update batches set started_at = now() - interval '1 h' where id = :id",
            id=stuck)  # fmt: skip
    figures = Figures(doors)

    figures.look()

    found = told(figures)
    assert 60 <= found["sync_lag_seconds",] < 120
    assert found["stuck_batches",] == 1


def test_a_breaker_that_is_not_closed_is_told_by_provider(doors, ledger_database):
    """Of the configs that send now."""
    config = make_config(ledger_database)
    make_started(ledger_database, config, recipients=3)
    breakers, scope = doors.breakers, scope_of(str(config["id"]))
    breakers.report(scope, breakers.passage(scope), Calls(1, 1))
    figures = Figures(doors)

    figures.look()

    assert told(figures)["open_breakers", "custom"] == 1


def test_a_neighbour_that_is_away_takes_only_its_own_figures_along(
    doors, no_clickhouse
):
    """What is not known is missing: 0 would be a lie."""
    full = Memory(used_bytes=8, most_bytes=10, evicted_keys=3)
    figures = Figures(replace(doors, clickhouse=no_clickhouse, memory=lambda: full))

    figures.look()

    found = told(figures)
    assert found["neighbour_up", "clickhouse"] == 0
    assert found["neighbour_up", "postgres"] == 1
    assert not any(name.startswith("clickhouse_disk") for name, *_ in found)
    assert found["dragonfly_memory_limit_bytes",] == 10
    assert found["dragonfly_evicted_keys",] == 3


def test_who_has_not_looked_for_long_tells_nothing(doors, monkeypatch):
    """Another leads now, and its figures are the right ones."""
    figures = Figures(doors)
    before = told(figures)
    figures.look()
    known = told(figures)
    monkeypatch.setattr(module, "STALE_S", -1)

    assert (before, told(figures)) == ({}, {})
    assert known["clickhouse_disk_bytes", "default"] > 0
