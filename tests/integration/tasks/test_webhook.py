"""Reports of providers: each counts once, whatever order and company they come in."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from dramatiq.broker import MessageProxy
from pydantic import SecretStr
from sqlalchemy import text

from analytics.event_log import ChunkEvents, EventLog
from analytics.reports import batch_stats, timeline
from brokers import BatchedMessage, Delivery, dispatch
from hot_state import client as hot_state_client
from hot_state.seen import Seen
from models.errors import NeighbourUnavailableError
from models.jobs import RecordWebhook
from models.queries import fold, holding
from models.status import OUTCOMES
from tasks.webhook import FIRST_WAIT_S, LONGEST_WAIT_S, Given, process
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


@pytest.fixture
def batch(ledger_database, config):
    """Three recipients who were sent to."""
    return sent_batch(ledger_database, config, recipients=3)


def sent_batch(database, config, **fields):
    batch_id = make_started(database, config, **fields)
    finish(database, batch_id)
    folded(database)
    return batch_id


def folded(database):
    with database.transaction() as connection:
        fold.fold(connection, chunks=100)


def job(batch_id, seq, event, **more):
    """A report of a custom endpoint; `more` are fields of its body."""
    about = {"event_id": more.pop("event_id", uuid4().hex)}
    about["config_id"] = more.pop("config_id", None)
    about["received_at"] = more.pop("received_at", time.time())
    body = {"type": event, **more}
    if batch_id is not None:
        body |= {"batch": str(batch_id), "seq": seq}
    return RecordWebhook("custom", event, body, **about)


def take(processor, *jobs, is_repeated=False):
    return processor.take([Given(one, is_repeated) for one in jobs])


def counters(database, batch_id):
    row = fields_of(database, "batches", batch_id)
    return {str(name): row[name] for name in OUTCOMES if row[name]}


def listed(database, config):
    with database.statement() as connection:
        found = connection.execute(
            text("select address from suppressions where tenant_id = :id order by 1"),
            {"id": config["tenant_id"]},
        )
        return list(found.scalars())


def events_of(analytics, config, batch_id, seq):
    found = timeline(analytics, config["tenant_id"], batch_id, seq)
    return [(one.event, one.error) for one in found]


def test_reports_become_statuses_and_events(
    *, processor, analytics, ledger_database, config, batch
):
    """In Postgres and, with their own time, in ClickHouse."""
    earlier = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)

    take(
        processor,
        job(batch, 0, "opened"),
        job(batch, 0, "delivered", id="m-0", timestamp=earlier.isoformat()),
        job(batch, 0, "opened"),
        job(batch, 1, "bounced", error="No such mailbox."),
        job(batch, 2, "sent"),
    )

    assert statuses_of(ledger_database, batch) == ["opened", "bounced", "sent"]
    assert counters(ledger_database, batch) == {"sent": 3}
    assert events_of(analytics, config, batch, 0) == [("delivered", ""), ("opened", "")]
    assert events_of(analytics, config, batch, 1) == [("bounced", "No such mailbox.")]
    assert events_of(analytics, config, batch, 2) == []
    assert timeline(analytics, config["tenant_id"], batch, 0)[0].occurred_at == earlier


def test_a_proof_of_sending_resolves_an_unknown(
    *, processor, analytics, ledger_database, config
):
    """In both databases; its reason is gone."""
    batch_id = make_started(ledger_database, config, recipients=1)
    finish(ledger_database, batch_id, unknown=1, errors={0: "No answer."})
    folded(ledger_database)

    take(processor, job(batch_id, 0, "sent", id="m-1"))

    assert statuses_of(ledger_database, batch_id) == ["sent"]
    assert counters(ledger_database, batch_id) == {"sent": 1}
    assert batch_stats(analytics, batch_id)["sent"] == 1
    with ledger_database.statement() as connection:
        found = connection.execute(
            text(
                "select error, provider_message_id from recipients where batch_id = :id"
            ),
            {"id": batch_id},
        ).one()
    assert tuple(found) == (None, "m-1")


def test_a_repetition_is_known_by_its_id(*, processor, ledger_database, config, batch):
    """It does not reach Postgres; one that says something else of somebody does."""
    first = job(batch, 0, "delivered", event_id="e-1")
    take(processor, first)
    spared = replace(processor, database=None)

    assert take(spared, first, first) == {}
    take(processor, job(batch, 1, "delivered", event_id="e-1"))

    assert statuses_of(ledger_database, batch) == ["delivered", "delivered", "sent"]


def test_without_dragonfly_reports_are_taken(*, processor, ledger_database, batch):
    """Fail open: a repetition moves nobody anyway."""
    away = Seen(hot_state_client.connect("redis://127.0.0.1:9"))
    blind = replace(processor, seen=away)

    for _ in range(2):
        take(blind, job(batch, 0, "delivered", event_id="e-2"))

    assert statuses_of(ledger_database, batch)[0] == "delivered"
    assert counters(ledger_database, batch) == {"sent": 3}


def test_nothing_is_marked_before_it_is_stored(*, processor, ledger_database, batch):
    """Whoever dies in between leaves the report to the next one."""
    report = job(batch, 0, "delivered", event_id="e-3")

    def refuse(_events):
        raise NeighbourUnavailableError("ClickHouse does not answer.")

    with pytest.raises(NeighbourUnavailableError):
        take(replace(processor, log_reported=refuse), report)
    told = []
    take(replace(processor, log_reported=told.extend), report)

    assert [one.event for one in told] == ["delivered"]
    assert counters(ledger_database, batch) == {"sent": 3}


def test_a_sending_is_logged_again_after_a_crash(*, processor, ledger_database, config):
    """It moved nobody the second time, but nobody knows whether it was logged."""
    batch_id = make_started(ledger_database, config, recipients=1)
    told = []
    logging = replace(processor, log_reported=told.extend)

    take(logging, job(batch_id, 0, "sent"))
    take(logging, job(batch_id, 0, "sent"))
    take(logging, job(batch_id, 0, "sent"), is_repeated=True)

    assert len(told) == 2


def test_a_report_without_our_ids_is_looked_up(
    *, processor, analytics, ledger_database, config, batch
):
    """In one query for all; what is not known yet waits longer each time."""
    now = datetime.now(UTC)
    EventLog(analytics).write(
        [
            ChunkEvents(
                batch, config["tenant_id"], 0, 3, now, now, sent="111",
                provider_ids=["p-0", "p-1", "p-2"],
            )
        ]
    )  # fmt: skip
    asked = []

    def counted(ids):
        asked.append(ids)
        return processor.places(ids)

    young, old = time.time(), time.time() - 600
    waits = take(
        replace(processor, places=counted),
        job(None, 0, "delivered", id="p-1"),
        job(None, 0, "delivered", id="early", received_at=young),
        job(None, 0, "opened", id="early", received_at=old),
        job(None, 0, "opened", id="never", received_at=old - LONGEST_WAIT_S),
        job(None, 0, "opened", id="p-2"),
        job(None, 0, "opened"),
    )

    assert statuses_of(ledger_database, batch) == ["sent", "delivered", "opened"]
    assert asked == [["early", "never", "p-1", "p-2"]]
    assert waits == {1: FIRST_WAIT_S, 2: pytest.approx(600, abs=60)}


def test_without_the_index_only_those_wait_that_need_it(
    *, processor, ledger_database, batch
):
    """ClickHouse away: the others go on."""

    def away(_ids):
        raise NeighbourUnavailableError("ClickHouse does not answer.")

    waits = take(
        replace(processor, places=away),
        job(None, 0, "opened", id="p-9"),
        job(batch, 0, "opened"),
    )

    assert list(waits) == [0]
    assert statuses_of(ledger_database, batch)[0] == "opened"


def test_a_tenants_account_speaks_of_its_own_recipients_alone(
    *, processor, ledger_database, config, batch
):
    """Ids are not believed because they are written there."""
    stranger = make_config(ledger_database)
    sibling = make_config(ledger_database, tenant_id=config["tenant_id"])

    take(
        processor,
        job(batch, 0, "complained", config_id=str(stranger["id"])),
        job(batch, 1, "delivered", config_id=str(sibling["id"])),
        job(batch, 2, "delivered", config_id=str(uuid4())),
        job(batch, 9, "delivered"),
        job(uuid4(), 0, "delivered"),
    )

    assert statuses_of(ledger_database, batch) == ["sent", "delivered", "sent"]
    assert listed(ledger_database, stranger) == []


def test_complaints_and_hard_bounces_suppress(*, processor, ledger_database):
    """On the tenant's list of the channel; a soft bounce may be tried again."""
    config = make_config(ledger_database)
    batch_id = sent_batch(ledger_database, config, recipients=3)

    take(
        processor,
        job(batch_id, 0, "complained"),
        job(batch_id, 1, "bounced"),
        job(batch_id, 2, "bounced", permanent=True),
    )

    assert listed(ledger_database, config) == ["user0@example.com", "user2@example.com"]


def test_a_copys_bounce_is_not_the_recipients(*, processor, ledger_database):
    """But nothing is sent to the copy any more."""
    config = make_config(ledger_database)
    batch_id = sent_batch(ledger_database, config, recipients=1)
    people = ["user0@example.com", "Boss@example.com"]
    body = {
        "eventType": "Bounce",
        "bounce": {
            "bounceType": "Permanent",
            "bouncedRecipients": [{"emailAddress": "boss@example.com"}],
        },
        "mail": {
            "destination": people,
            "tags": {"batch": [str(batch_id)], "seq": ["0"]},
        },
    }

    take(processor, RecordWebhook("ses", "Bounce", body, received_at=time.time()))

    assert statuses_of(ledger_database, batch_id) == ["sent"]
    assert listed(ledger_database, config) == ["boss@example.com"]
    assert rates_of(ledger_database, config) == (1, 0, 0)


def test_too_many_hard_bounces_hold_the_config(
    *, config_of, ledger_database, processor
):
    """With a reason; who resumes it is measured anew."""
    config = make_config(ledger_database)
    batch_id = sent_batch(ledger_database, config, recipients=20)
    rule = replace(processor.rule, min_sends=20, bounce_rate=0.1)
    braking = replace(processor, rule=rule)
    bounces = [job(batch_id, seq, "bounced", permanent=True) for seq in range(4)]

    take(braking, *bounces[:2], bounces[0])
    assert config_of(batch_id)["held_reason"] is None
    take(braking, bounces[2])

    assert "3 of 20 messages (15.0 %)" in config_of(batch_id)["held_reason"]
    with ledger_database.transaction() as connection:
        holding.release_config(connection, config["tenant_id"], config["id"])
    take(braking, bounces[3])
    assert config_of(batch_id)["held_reason"] is None


def message_of(one, *, deliveries=1):
    """A job as a batched actor gets it."""
    proxy = MessageProxy(dispatch.to_message(one))
    reply = f"$JS.ACK.webhooks.webhook.{deliveries}.7.9.1763800000000000000.0"
    proxy.delivery = Delivery("webhook", reply, None)
    return BatchedMessage(proxy)


def fates(messages):
    return [
        "failed" if one.error else "again" if one.delivery.choice.name != "ACK" else ""
        for one in messages
    ]


def test_a_report_that_breaks_us_fails_alone(*, processor, ledger_database, batch):
    """The others of its batch are taken, and who waits, waits alone."""
    messages = [
        message_of(one)
        for one in (
            job(batch, 0, "delivered"),
            job(batch, 1, "delivered", config_id="no id"),
            job(None, 0, "delivered", id="unheard of"),
            job(batch, 2, "delivered"),
        )
    ]

    process(processor, messages)

    assert fates(messages) == ["", "failed", "again", ""]
    assert statuses_of(ledger_database, batch) == ["delivered", "sent", "delivered"]


def test_without_postgres_all_reports_wait(*, start_worker, batch):
    """Longer each time, and no retry is counted."""
    away = start_worker(database_url=SecretStr("postgresql://127.0.0.1:9/none"))
    messages = [
        message_of(job(batch, 0, "delivered"), deliveries=number) for number in (1, 99)
    ]

    process(away.processor, messages)

    assert fates(messages) == ["again", "again"]
    assert [one.delivery.nak for one in messages] == [
        b'-NAK {"delay": 5000000000}', b'-NAK {"delay": 600000000000}',
    ]  # fmt: skip


def test_what_is_nothing_about_a_message_is_let_go(processor):
    """Other events, unknown providers, and reports of nobody."""
    other = RecordWebhook("resend", "", {"type": "contact.created"})
    messages = [
        message_of(one)
        for one in (other, replace(other, provider="lime"), job(None, 0, "opened"))
    ]

    process(replace(processor, database=None), messages)

    assert fates(messages) == ["", "", ""]
