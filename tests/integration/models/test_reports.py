"""Statuses only move up, counters and rates with them, whoever tells what when."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import chain, permutations
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.brake import Rates
from models.queries import braking, fold, reports
from models.report import Report
from models.status import OUTCOMES, RecipientStatus, counted_as
from tests.factories import (
    fields_of,
    finish,
    make_config,
    make_started,
    rates_of,
    statuses_of,
)


@pytest.fixture(scope="module")
def config(ledger_database):
    return make_config(ledger_database)


def folded(database):
    with database.transaction() as connection:
        fold.fold(connection, chunks=100)


def counters(database, batch_id):
    row = fields_of(database, "batches", batch_id)
    return {str(name): row[name] for name in OUTCOMES if row[name]}


def test_every_order_of_reports_ends_alike(ledger_database):
    """720 recipients, each with its own order, and every report of it twice."""
    told = [
        (RecipientStatus.SENT, False), (RecipientStatus.DELIVERED, False),
        (RecipientStatus.OPENED, False), (RecipientStatus.BOUNCED, False),
        (RecipientStatus.BOUNCED, True), (RecipientStatus.COMPLAINED, False),
    ]  # fmt: skip
    config = make_config(ledger_database)
    orders = list(permutations(told))
    batch_id = make_started(ledger_database, config, recipients=len(orders))

    for step in (0, 1, 1, 2, 0, 3, 4, 5, 5, 2):
        news = [told_of(batch_id, n, *order[step]) for n, order in enumerate(orders)]
        with ledger_database.transaction() as connection:
            reports.move_recipients(connection, [*news, *news])

    assert set(statuses_of(ledger_database, batch_id)) == {"complained"}
    assert counters(ledger_database, batch_id) == {"sent": 720}
    assert rates_of(ledger_database, config) == (720, 720, 720)


def told_of(batch_id, seq, status, is_hard):
    now = datetime.now(UTC)
    return Report(status, now, batch_id, seq, is_hard=is_hard), None


outcomes = st.sampled_from(OUTCOMES)
told = st.sampled_from([s for s in RecipientStatus if s.rank >= 6])


@settings(max_examples=25)
@given(outcome=outcomes, pages=st.lists(st.lists(told, max_size=4), max_size=4))
def test_counters_follow_whatever_is_reported_and_folded(
    *, ledger_database, config, outcome, pages
):
    """The status is the highest that was told; its counter, and no other, counts it."""
    batch_id = make_started(ledger_database, config, recipients=1)
    finish(ledger_database, batch_id, **{str(outcome): 1})

    for number, page in enumerate(pages):
        news = [told_of(batch_id, 0, status, is_hard=False) for status in page]
        with ledger_database.transaction() as connection:
            reports.move_recipients(connection, news)
        if number == 1:
            folded(ledger_database)
    folded(ledger_database)

    highest = max([outcome, *chain(*pages)], key=lambda status: status.rank)
    assert statuses_of(ledger_database, batch_id) == [str(highest)]
    assert counters(ledger_database, batch_id) == {str(counted_as(highest)): 1}


def test_processors_at_once_count_once_and_never_wait_in_a_ring(ledger_database):
    """Six take the same reports of the same batches, each in another order."""
    config = make_config(ledger_database)
    batches = [make_started(ledger_database, config, recipients=40) for _ in range(3)]
    news = [
        told_of(batch_id, seq, RecipientStatus.BOUNCED, is_hard=True)
        for batch_id in batches
        for seq in range(40)
    ]
    together = Barrier(6)

    def move(number):
        mixed = sorted(
            news, key=lambda one: hash((number, one[0].batch_id, one[0].seq))
        )
        together.wait()
        for start in range(0, len(mixed), 30):
            with ledger_database.transaction() as connection:
                reports.move_recipients(connection, mixed[start : start + 30])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(move, range(6)))

    assert [counters(ledger_database, one) for one in batches] == [{"sent": 40}] * 3
    assert rates_of(ledger_database, config) == (120, 120, 0)


def test_the_brake_looks_at_the_last_day(ledger_database):
    """What no window reaches any more is deleted, and nothing else."""
    config = make_config(ledger_database)
    batch_id = make_started(ledger_database, config, recipients=3)
    for seq, hours in ((0, 49), (1, 25), (2, 0)):
        with ledger_database.transaction() as connection:
            told = told_of(batch_id, seq, RecipientStatus.BOUNCED, is_hard=True)
            reports.move_recipients(connection, [told])
            connection.exec_driver_sql(
                f"update config_rates set hour = hour - interval '{hours} hours'"
                f" where hour > now() - interval '2 hours'"
            )

    with ledger_database.transaction() as connection:
        found = braking.recent_rates(connection, [config["id"]])
        forgotten = braking.forget_old_rates(connection)

    assert found == {config["id"]: Rates(1, 1, 0)}
    assert forgotten >= 1
    assert rates_of(ledger_database, config) == (2, 2, 0)
