"""Ten thousand reports at once, and nothing of them is lost or counted twice."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from brokers import dispatch
from models.jobs import RecordWebhook
from tests.chaos.house import until
from tests.factories import fields_of, make_batch, make_config, statuses_of

#: Each is reported four times.
RECIPIENTS = 2500
#: Every so many bounce for good in the end.
BOUNCING = 50
EVENTS = ("sent", "delivered", "opened", "clicked")


@pytest.fixture
def config(house):
    return make_config(house.database)


@pytest.fixture
def batch(house, config):
    """One that nobody sends: only reports move its recipients."""
    later = datetime.now(UTC) + timedelta(days=1)
    return make_batch(house.database, config, recipients=RECIPIENTS, scheduled_at=later)


def jobs(batch_id):
    """The reports, those of a recipient far from each other."""
    for event in EVENTS:
        for seq in range(RECIPIENTS):
            bounces = event == "opened" and seq % BOUNCING == 0
            kind = "bounced" if bounces else event
            about = {"batch": str(batch_id), "seq": seq, "id": f"m-{seq}"}
            body = {"type": kind, "permanent": bounces, **about}
            yield RecordWebhook(
                "custom", kind, body, f"{event}:{batch_id}:{seq}", None, time.time()
            )


def one(house, statement, **given):
    with house.database.statement() as connection:
        return connection.execute(text(statement), given).scalar_one()


def moved(house, batch, status):
    """Count those who have come so far."""
    query = "select count(*) from recipients where batch_id = :id and status >= :status"
    return one(house, query, id=batch, status=status)


def all_taken(house, batch):
    counts = house.broker.get_queue_message_counts("webhook")
    return moved(house, batch, "clicked") == RECIPIENTS and sum(counts) == 0


def check(house, batch, config):
    """Statuses, counters, rates and lists are exact."""
    bounced = RECIPIENTS // BOUNCING
    assert statuses_of(house.database, batch) == [
        "clicked" if seq % BOUNCING else "bounced" for seq in range(RECIPIENTS)
    ]
    assert fields_of(house.database, "batches", batch)["sent"] == RECIPIENTS
    rates = "select sum({}) from config_rates where config_id = :id"
    assert one(house, rates.format("sent"), id=config["id"]) == RECIPIENTS
    assert one(house, rates.format("hard_bounces"), id=config["id"]) == bounced
    listed = "select count(*) from suppressions where tenant_id = :id"
    assert one(house, listed, id=config["tenant_id"]) == bounced
    until(lambda: logged(house, batch) == expected(), "all events are logged")


def test_a_burst_survives_kill_9(house, batch, config):
    """Both processors are killed in its midst; what they had is taken anew."""
    dispatch.send_many(house.broker, list(jobs(batch)))

    for name, event in (("worker-1", "sent"), ("worker-2", "delivered")):
        until(lambda event=event: moved(house, batch, event) > 200, f"some are {event}")
        house.kill_worker(name)
    assert moved(house, batch, "clicked") < RECIPIENTS
    house.heal()

    until(lambda: all_taken(house, batch), "all reports are taken")
    check(house, batch, config)


@pytest.mark.load
def test_a_burst_is_absorbed_in_ten_seconds(house, batch, config):
    """From the first publish to the last acknowledgement."""
    began_at = time.monotonic()

    dispatch.send_many(house.broker, list(jobs(batch)))

    until(lambda: all_taken(house, batch), "all reports are taken")
    assert time.monotonic() - began_at < 10
    check(house, batch, config)


def expected():
    bounced = RECIPIENTS // BOUNCING
    return {
        "sent": RECIPIENTS,
        "delivered": RECIPIENTS,
        "opened": RECIPIENTS - bounced,
        "bounced": bounced,
        "clicked": RECIPIENTS,
    }


def logged(house, batch):
    """Count the events of each kind in ClickHouse."""
    found = house.events.rows(
        "SELECT event, count() FROM email_events FINAL"
        " WHERE batch_id = {id:UUID} GROUP BY event",
        {"id": batch},
    )
    return dict(found)
