"""Endpoints hear what they subscribed to: signed, at least once, each by itself."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from models import credentials
from models.outgoing import EVENTS, RETRY_AFTER_S, Noted, Secrets, new_secret
from models.queries import deliveries, endpoints, fold, outbox
from models.queries.endpoints import NewEndpoint
from tests.factories import finish, make_config, make_started, set_chunk
from tests.fakes.receiver import FakeReceiver
from tests.fakes.server import Reply

KEY = base64.b64encode(b"k" * 32).decode()
LATER = timedelta(hours=1)


@pytest.fixture
def receiver():
    found = FakeReceiver()
    yield found
    found.stop()


@pytest.fixture
def worker(start_worker):
    return start_worker(credentials_key=SecretStr(KEY), outgoing_deadline_s=1)


@pytest.fixture
def config(ledger_database):
    return make_config(ledger_database)


@pytest.fixture
def hear(ledger_database, config, receiver):
    """Make an endpoint at the receiver; return its id."""

    def made(*events: str, batch_size=50, config=config, url="") -> UUID:
        secret = new_secret()
        receiver.secrets.append(secret)
        wanted = NewEndpoint(url or receiver.url, events, "", batch_size)
        sealed = credentials.seal(Secrets(secret).stored, KEY)
        with ledger_database.transaction() as connection:
            tenant_id = config["tenant_id"]
            row = endpoints.add_endpoint(connection, tenant_id, wanted, sealed)
        return row["id"]

    yield made
    with ledger_database.statement() as connection:
        connection.exec_driver_sql("delete from webhook_endpoints")
        connection.exec_driver_sql("delete from outgoing_events")


@pytest.fixture
def batch(ledger_database, config):
    """Fold a finished batch of three: the first sent, one failed, one suppressed."""

    def folded(*, config=config, **sets) -> UUID:
        batch_id = make_started(ledger_database, config, recipients=3)
        sets = sets or {"failed": 2, "suppressed": 4, "errors": {1: "No mailbox."}}
        finish(ledger_database, batch_id, **sets)
        with ledger_database.transaction() as connection:
            fold.fold(connection, chunks=100)
            fold.complete_batches(connection, reopens=3)
        return batch_id

    return folded


@pytest.fixture
def attempt(ledger_database, worker):
    """Make the next attempt of everything that waits, however long it has to.

    Returns the jobs with the seconds until each was due.
    """

    def attempted():
        with ledger_database.transaction() as connection:
            deliveries.pack(connection, rows=1000)
        with ledger_database.statement() as connection:
            waiting = deliveries.unpublished(connection)
            deliveries.mark_published(connection, [job for job, _ in waiting])
        for job, _ in waiting:
            worker.deliverer.deliver(job)
        return waiting

    return attempted


@pytest.fixture
def page(ledger_database):
    """The deliveries of an endpoint, the newest first."""

    def found(endpoint_id):
        with ledger_database.statement() as connection:
            return endpoints.deliveries_page(
                connection, endpoint_id, before=None, state=None, limit=100
            )

    return found


@pytest.fixture
def endpoint_row(ledger_database, config):
    def found(endpoint_id, config=config):
        with ledger_database.statement() as connection:
            return endpoints.endpoint_by_id(
                connection, config["tenant_id"], endpoint_id
            )

    return found


def outbox_rows(database):
    with database.statement() as connection:
        return connection.exec_driver_sql(
            "select count(*) from outgoing_events"
        ).scalar_one()


def test_an_endpoint_hears_what_became_of_everybody(hear, batch, attempt, receiver):
    """One call for the whole batch, with whom it is about and why."""
    hear(*EVENTS)

    batch_id = batch()
    attempt()

    (body,) = receiver.heard
    told = [(one["type"], one["data"].get("to")) for one in body["data"]]
    assert body["type"] == "batch"
    assert sorted(told) == [
        ("batch.completed", None),
        ("message.failed", "user1@example.com"),
        ("message.sent", "user0@example.com"),
        ("message.suppressed", "user2@example.com"),
    ]
    by_type = {one["type"]: one["data"] for one in body["data"]}
    assert by_type["message.failed"]["reason"] == "No mailbox."
    assert {one["batch"] for one in by_type.values()} == {str(batch_id)}
    assert by_type["batch.completed"]["recipients"] == 3


def test_only_what_is_subscribed_to_is_noted_and_told(
    *, hear, batch, attempt, receiver, ledger_database
):
    """Nobody's events take no room; one endpoint's are no other's."""
    batch()
    assert outbox_rows(ledger_database) == 0
    failures, sendings = hear("message.failed"), hear("message.sent")
    other = make_config(ledger_database)

    batch()
    batch(config=other)
    attempt()

    assert {failures, sendings}
    assert [one["type"] for one in receiver.events] in (
        ["message.failed", "message.sent"],
        ["message.sent", "message.failed"],
    )


def test_another_tenants_events_are_never_told(
    *, hear, batch, attempt, receiver, ledger_database
):
    other = make_config(ledger_database)
    hear("message.sent", config=other)

    batch()
    theirs = batch(config=other)
    attempt()

    assert {one["data"]["batch"] for one in receiver.events} == {str(theirs)}


def test_who_is_folded_again_is_told_once(
    *, hear, batch, attempt, receiver, ledger_database
):
    """A row that is folded anew tells only of those whom it moved."""
    hear("message.sent", "message.unknown")
    batch_id = batch(unknown=1)
    set_chunk(
        ledger_database,
        batch_id,
        "folded_at = null, sent = B'111', unknown = B'000', reopened = 1",
    )

    with ledger_database.transaction() as connection:
        fold.fold(connection, chunks=100)
    attempt()

    told = sorted((one["type"], one["data"]["seq"]) for one in receiver.events)
    assert told == [
        ("message.sent", 0), ("message.sent", 1), ("message.sent", 2),
        ("message.unknown", 0),
    ]  # fmt: skip


def test_reports_are_noted_for_who_subscribed(
    *, hear, batch, attempt, receiver, ledger_database
):
    """In the order in which they are given, with their ids, times and details."""
    hear("message.bounced", "message.opened")
    batch_id = batch()
    at = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
    reports = [
        Noted(batch_id, 0, "message.bounced", at, "evt_7", {"bounce": "permanent"}),
        Noted(batch_id, 1, "message.opened"),
        Noted(batch_id, 1, "message.clicked"),
        Noted(UUID(int=9), 1, "message.opened"),
    ]

    with ledger_database.transaction() as connection:
        rows = outbox.note_events(connection, reports)
    attempt()

    bounced, opened = receiver.events
    assert rows == 2
    assert (bounced["id"], bounced["timestamp"]) == ("evt_7", at.isoformat())
    assert bounced["data"]["bounce"] == "permanent"
    assert opened["id"] == f"{batch_id}:1:message.opened"


def test_many_events_are_told_in_calls_of_the_endpoints_size(
    hear, batch, attempt, receiver
):
    hear("message.sent", batch_size=2)

    batch(failed=0)
    attempt()

    assert [len(body["data"]) for body in receiver.heard] == [2, 1]
    assert len(set(receiver.ids)) == 2


def test_a_failed_attempt_is_repeated_by_the_same_id(
    *, hear, batch, attempt, receiver, page, endpoint_row
):
    """At the standard's times, the same body; a success ends it."""
    endpoint = hear("message.sent")
    receiver.says(Reply(500, b"broken\0 here"))
    receiver.says(Reply(302, headers={"Location": "http://127.0.0.1:1/"}))
    batch()

    attempt()
    (failed,) = page(endpoint)
    failing_since = endpoint_row(endpoint)["failing_since"]
    (_, second_s), *_ = attempt()
    (_, third_s), *_ = attempt()

    assert (failed["state"], failed["last_status"]) == ("pending", 500)
    assert failed["response"] == "broken\ufffd here"
    assert failing_since is not None
    assert RETRY_AFTER_S[0] - 2 < second_s <= RETRY_AFTER_S[0] * 1.2
    assert RETRY_AFTER_S[1] - 2 < third_s <= RETRY_AFTER_S[1] * 1.2
    assert len(set(receiver.ids)) == 1
    assert len({seen.body for seen in receiver.requests}) == 1
    (done,) = page(endpoint)
    assert (done["state"], done["attempts"]) == ("delivered", 3)
    assert endpoint_row(endpoint)["failing_since"] is None
    assert attempt() == []


def test_a_copy_of_an_attempt_that_ended_calls_nobody(
    *, hear, batch, attempt, receiver, worker
):
    hear("message.sent")
    batch()
    ((job, _),) = attempt()

    worker.deliverer.deliver(job)
    worker.deliverer.deliver(replace(job, epoch=1))

    assert len(receiver.requests) == 1


def test_an_attempt_whose_end_was_not_noted_is_made_again(
    *, hear, batch, receiver, worker, ledger_database
):
    """As by a worker that dies after the call: the receiver knows the id."""
    hear("message.sent")
    batch()
    with ledger_database.transaction() as connection:
        deliveries.pack(connection, rows=1000)
        ((job, _),) = deliveries.unpublished(connection)
    worker.deliverer.deliver(job)
    with ledger_database.statement() as connection:
        connection.execute(
            text(
                "update webhook_deliveries set state = 'pending', attempts = 0"
                " where id = :id"
            ),
            {"id": job.delivery_id},
        )

    worker.deliverer.deliver(job)

    assert receiver.ids == [job.delivery_id] * 2


def test_retry_after_is_obeyed(hear, batch, attempt, receiver):
    hear("message.sent")
    receiver.says(Reply(429, headers={"Retry-After": "600"}))
    batch()

    attempt()
    ((_, wait_s),) = attempt()

    assert 598 < wait_s <= 720


def test_after_the_last_attempt_a_delivery_has_failed(
    *, hear, batch, attempt, receiver, page
):
    endpoint = hear("message.sent")
    for _ in range(10):
        receiver.says(Reply(503))
    batch()

    for _ in range(10):
        attempt()

    (found,) = page(endpoint)
    assert (found["state"], found["attempts"]) == ("failed", 10)
    assert attempt() == []


def test_who_is_gone_is_disabled_at_once_and_the_others_are_told(
    *, hear, batch, attempt, receiver, endpoint_row, page
):
    """Its deliveries end, nothing more is noted for it, and its owner hears why."""
    gone, other = hear("message.sent", batch_size=1), hear("endpoint.disabled")
    receiver.says(Reply(410))
    batch(failed=0)

    attempt()
    attempt()
    batch()

    row = endpoint_row(gone)
    assert (row["state"], row["disabled_reason"]) == (
        "disabled", "It answered 410 Gone."
    )  # fmt: skip
    assert {one["state"] for one in page(gone)} == {"failed"}
    assert len(page(gone)) == 3
    (told,) = receiver.events
    assert told["data"]["endpoint"] == str(gone)
    assert endpoint_row(other)["state"] == "enabled"
    assert attempt() == []


@pytest.mark.parametrize(("days", "state"), [(4.9, "enabled"), (5.1, "disabled")])
def test_days_of_nothing_but_failures_disable(
    *,
    hear,
    batch,
    attempt,
    receiver,
    endpoint_row,
    ledger_database,
    days,
    state,
    caplog,
):
    endpoint = hear("message.sent")
    receiver.says(Reply(500))
    receiver.says(Reply(500))
    batch()
    attempt()
    with ledger_database.statement() as connection:
        connection.execute(
            text(
                "update webhook_endpoints set failing_since = clock_timestamp()"
                " - make_interval(secs => :s) where id = :id"
            ),
            {"s": days * 86_400, "id": endpoint},
        )

    attempt()

    assert endpoint_row(endpoint)["state"] == state
    assert ("is disabled" in caplog.text) == (state == "disabled")


def test_what_failed_is_replayed_by_its_old_id(
    *, hear, batch, attempt, receiver, page, ledger_database
):
    """Once it is enabled again; what was delivered is left alone unless asked for."""
    endpoint = hear("message.sent")
    batch()
    attempt()
    receiver.says(Reply(410))
    batch()
    attempt()
    failed, delivered = page(endpoint)
    since = datetime.now(UTC) - LATER

    with ledger_database.transaction() as connection:
        endpoints.enable(connection, endpoint)
        replayed = endpoints.replay_since(
            connection, endpoint, since=since, states=["failed"]
        )
    attempt()
    with ledger_database.transaction() as connection:
        endpoints.replay_one(connection, endpoint, delivered["id"])
    attempt()

    assert replayed == 1
    assert receiver.ids == [
        str(one["id"]) for one in (delivered, failed, failed, delivered)
    ]
    assert {one["state"] for one in page(endpoint)} == {"delivered"}


def test_an_address_inside_is_not_called(
    *, hear, batch, receiver, page, start_worker, ledger_database
):
    """The guard looks at the address that is connected to."""
    endpoint = hear("message.sent")
    strict = start_worker(credentials_key=SecretStr(KEY), endpoint_networks="")
    batch()
    with ledger_database.transaction() as connection:
        deliveries.pack(connection, rows=1000)
        ((job, _),) = deliveries.unpublished(connection)

    strict.deliverer.deliver(job)

    (found,) = page(endpoint)
    assert "not on the public internet" in found["last_error"]
    assert receiver.requests == []


def test_a_secret_that_is_being_changed_signs_beside_the_new_one(
    *, hear, batch, attempt, receiver, ledger_database
):
    """A receiver that knows either of the two takes the delivery."""
    endpoint = hear("message.sent")
    first = Secrets(receiver.secrets[0])
    both = first.rotated(new_secret(), datetime.now(UTC), LATER)
    with ledger_database.statement() as connection:
        endpoints.change_secret(
            connection, endpoint, credentials.seal(both.stored, KEY)
        )

    for secrets in ([first.secret], [both.secret]):
        receiver.secrets = secrets
        batch()
        attempt()

    assert len(receiver.events) == 2


def test_who_was_erased_is_told_of_without_an_address(
    *, hear, batch, attempt, receiver, ledger_database
):
    """Neither the outbox nor a delivery holds one."""
    hear("message.sent")
    batch_id = batch()
    with ledger_database.statement() as connection:
        connection.execute(
            text("delete from recipients where batch_id = :id"), {"id": batch_id}
        )

    attempt()

    (told,) = receiver.events
    assert "to" not in told["data"]


def test_a_slow_answer_is_a_failure(hear, batch, attempt, receiver, page):
    """The time limit is for the whole call; the receiver knows the id already."""
    endpoint = hear("message.sent")
    receiver.drips()
    batch()

    attempt()
    attempt()

    (found,) = page(endpoint)
    assert (found["state"], found["attempts"]) == ("delivered", 2)
    assert len(set(receiver.ids)) == 1


def test_a_secret_that_does_not_open_is_a_failure_that_says_so(
    *, hear, batch, attempt, receiver, page, ledger_database
):
    """The key was changed without its former one: nothing is sent unsigned."""
    endpoint = hear("message.sent")
    sealed = credentials.seal({"secret": "x"}, base64.b64encode(b"o" * 32).decode())
    with ledger_database.statement() as connection:
        endpoints.change_secret(connection, endpoint, sealed)
    batch()

    attempt()

    (found,) = page(endpoint)
    assert (found["state"], found["last_status"]) == ("pending", None)
    assert "rotate" in found["last_error"]
    assert receiver.requests == []


def test_what_ended_long_ago_is_forgotten(
    *, hear, batch, attempt, receiver, page, ledger_database
):
    """And nothing that still waits, however old it is."""
    endpoint = hear("message.sent")
    batch()
    attempt()
    receiver.says(Reply(500))
    batch()
    attempt()
    with ledger_database.statement() as connection:
        connection.exec_driver_sql(
            "update webhook_deliveries set created_at = now() - interval '9 days',"
            " finished_at = finished_at - interval '9 days'"
        )

        purged = deliveries.purge(connection, keep_s=7 * 86_400)

    assert purged == 1
    assert [one["state"] for one in page(endpoint)] == ["pending"]


def test_a_failing_endpoint_is_tried_by_one_delivery_at_a_time(
    hear, batch, attempt, receiver
):
    """The others wait without counting attempts, until one was taken."""
    hear("message.sent", batch_size=1)
    receiver.says(Reply(500))
    batch()
    attempt()
    batch(failed=0)

    retried = attempt()
    rest = attempt()

    assert (len(retried), len(rest)) == (1, 3)
    assert sorted(job.attempts for job, _ in rest) == [0, 0, 0]
    assert len(receiver.heard) == 4
