"""Single messages: rows first, then publish, then 202."""

from uuid import uuid4

import dramatiq
import pytest

from brokers import dispatch
from embedded.data_dir import choose_ports
from embedded.nats_server import NatsServer
from models.jobs import SendMessage, job_of
from models.queries import messages, publishing
from scheduler.messages import publish_messages
from tests.factories import fields_of
from web_app import create_app

MESSAGE = {
    "sendConfig": "hook",
    "to": "Ada@Example.com",
    "variables": {"name": "Ada"},
    "payload": {"subject": "Reset", "text": "Hello {{ name }}"},
}


@pytest.fixture
def settings(settings, nats_url):
    return settings.model_copy(update={"nats_url": nats_url})


@pytest.fixture
def broker(nats_url):
    """Who reads the queue, which is empty at the beginning."""
    encoder = dramatiq.get_encoder()
    broker = dispatch.connect(nats_url, middleware=[])
    broker.declare_queue("priority")
    broker.consume("priority", prefetch=1, timeout=100).close()
    broker.flush("priority")
    yield broker
    broker.close()
    dramatiq.set_encoder(encoder)


def jobs_in(broker):
    """All jobs in the queue."""
    consumer = broker.consume("priority", prefetch=100, timeout=500)
    found = []
    while (message := next(consumer)) is not None:
        found.append(job_of(SendMessage, message.kwargs))
        consumer.ack(message)
    consumer.close()
    return found


def test_a_message_is_committed_published_and_taken(tenant, broker, database):
    """The job carries all that a worker needs; no list of batches shows it."""
    answer = tenant.post("/api/messages", MESSAGE)

    assert answer.status_code == 202
    (job,) = jobs_in(broker)
    assert (job.batch_id, job.address) == (answer.json["id"], "Ada@example.com")
    assert (job.variables, job.suppressed) == ({"name": "Ada"}, False)
    row = fields_of(database, "chunks", job.batch_id, no=0)
    assert (row["state"], row["published_at"] is None) == ("open", False)
    shown = tenant.get(f"/api/messages/{job.batch_id}").json
    assert (shown["to"], shown["status"]) == ("Ada@example.com", "pending")
    assert tenant.get("/api/batches").json["batches"] == []


def test_the_same_key_is_one_message(tenant, make_caller, broker):
    """For one tenant; another's is another."""
    key = {"Idempotency-Key": str(uuid4())}
    stranger = make_caller()
    stranger.make_config()

    first, again = (
        tenant.ask("POST", "/api/messages", json=MESSAGE, headers=key) for _ in "12"
    )
    other = stranger.ask("POST", "/api/messages", json=MESSAGE, headers=key)

    assert first.json == again.json != other.json
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(jobs_in(broker)) == 2


def test_who_is_on_a_list_is_known_to_the_job(tenant, broker):
    """In any spelling."""
    tenant.ask(
        "POST",
        "/api/suppressions",
        json=[{"address": "ada@example.com"}],
    )

    tenant.post("/api/messages", MESSAGE)

    assert jobs_in(broker)[0].suppressed


def test_while_nats_is_away_a_message_is_taken_and_published_later(
    *, tenant, database, broker, settings
):
    """The scheduler finds it by its row, and publishes it once."""
    away = create_app(settings.model_copy(update={"nats_url": "nats://127.0.0.1:9"}))
    headers = {"Authorization": f"Bearer {tenant.key}"}
    answer = away.test_client().post("/api/messages", json=MESSAGE, headers=headers)
    assert answer.status_code == 202
    assert jobs_in(broker) == []
    with database.statement() as connection:
        connection.exec_driver_sql(
            "update batches set started_at = now() - interval '9 s'"
            f" where id = '{answer.json['id']}'"
        )
        assert not publishing.batches_to_expand(connection, again_s=0.0)

    assert publish_messages(database, broker) >= 1
    assert publish_messages(database, broker) == 0

    (job,) = (j for j in jobs_in(broker) if j.batch_id == answer.json["id"])
    assert (job.address, job.published_at) == (None, 0.0)


def test_a_message_that_was_just_committed_is_left_to_its_sender(tenant, database):
    """Within its time the scheduler makes no second copy."""
    message_id = tenant.post("/api/messages", MESSAGE).json["id"]
    with database.statement() as connection:
        connection.exec_driver_sql(
            f"update chunks set published_at = null where batch_id = '{message_id}'"
        )
        left = messages.unpublished_messages(connection, most=1000, own_time_s=60)

    assert message_id not in [job.batch_id for job in left]


def test_a_message_too_large_to_carry_travels_by_name(tenant, settings, tmp_path):
    """The worker reads it where it was committed."""
    (port,) = choose_ports(tmp_path, ["nats"], explicit={}).values()
    small = NatsServer(tmp_path, port, "secret", max_payload_bytes=10_000)
    small.start()
    app = create_app(settings.model_copy(update={"nats_url": small.url}))
    headers = {"Authorization": f"Bearer {tenant.key}"}
    large = MESSAGE | {"variables": {"name": "x" * 20_000}}

    app.test_client().post("/api/messages", json=large, headers=headers)

    reader = dispatch.connect(small.url, middleware=[])
    reader.declare_queue("priority")
    (job,) = jobs_in(reader)
    reader.close()
    small.stop()
    assert (job.address, job.variables) == (None, None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"to": "no address"}, "to"),
        ({"to": None}, "to"),
        ({"variables": {}}, "variables"),
        ({"payload": {}}, "payload"),
        ({"sendConfig": "none"}, "sendConfig"),
        ({"recipients": []}, "recipients"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_once(tenant, broker, change, field):
    answer = tenant.post("/api/messages", MESSAGE | change)

    assert 400 <= answer.status_code < 500
    assert answer.json["field"] == field
    assert jobs_in(broker) == []


def test_a_held_config_takes_no_messages(tenant, database, broker):
    """A password mail of yesterday is worth nothing; the tenant reads why."""
    with database.statement() as connection:
        connection.exec_driver_sql(
            "update send_configs set held_reason = 'The key is wrong.'"
            f" where tenant_id = '{tenant.tenant_id}'"
        )

    answer = tenant.post("/api/messages", MESSAGE)

    assert (answer.status_code, "The key is wrong." in answer.text) == (409, True)
    assert jobs_in(broker) == []


def test_a_message_is_its_tenants_own(tenant, make_caller):
    message_id = tenant.post("/api/messages", MESSAGE).json["id"]

    assert make_caller().get(f"/api/messages/{message_id}").status_code == 404
