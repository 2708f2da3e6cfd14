"""The queue of outgoing webhooks under a real worker, which is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dramatiq
import pytest

from brokers import dispatch
from models import credentials
from models.outgoing import Secrets, new_secret
from models.queries import endpoints, fold
from models.queries.endpoints import NewEndpoint
from scheduler import outgoing
from tests.factories import finish, make_config, make_started
from tests.fakes.receiver import FakeReceiver

HOME = Path(__file__).parents[3]
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
THREADS, CAP = 8, dispatch.CALLS_AN_ENDPOINT
RECIPIENTS = 12
#: The shortest that a killed worker's messages can be away on a busy machine.
TIMES = {
    "CALL_DEADLINE_S": "0.5",
    "CALL_MARGIN_S": "0.2",
    "LEASE_S": "2",
    "ACK_WAIT_S": "3",
    "UNKNOWN_WINDOW_S": "5",
    "OUTGOING_DEADLINE_S": "30",
}


def until(condition, what, within_s=60):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def broker(nats_url):
    encoder = dramatiq.get_encoder()
    broker = dispatch.connect(nats_url, middleware=[])
    yield broker
    broker.close()
    dramatiq.set_encoder(encoder)


@pytest.fixture
def start(environment, tmp_path):
    """Start a worker of outgoing webhooks; it ends with the test at the latest."""
    started = []

    def begin():
        urls = {
            "DATABASE_URL": environment.database_url.get_secret_value(),
            "NATS_URL": environment.nats_url,
            "DRAGONFLY_URL": environment.dragonfly_url.get_secret_value(),
            "CLICKHOUSE_URL": "http://127.0.0.1:9",
            "CREDENTIALS_KEY": KEY,
            "ENDPOINT_NETWORKS": "127.0.0.0/8",
        }
        command = ["dramatiq", "tasks", "--processes", "1", "--threads", str(THREADS)]
        with (tmp_path / f"worker-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command, "--queues", "outgoing"],
                cwd=HOME,
                env=os.environ | urls | TIMES,
                stderr=log,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def receiver():
    found = FakeReceiver()
    yield found
    found.stop()


@pytest.fixture
def slow():
    found = FakeReceiver()
    yield found
    found.stop()


@pytest.fixture
def config(ledger_database):
    return make_config(ledger_database)


@pytest.fixture
def hear(ledger_database, config):
    """Let a receiver hear of each sending by a call of its own."""

    def made(receiver):
        secret = new_secret()
        receiver.secrets.append(secret)
        with ledger_database.transaction() as connection:
            return endpoints.add_endpoint(
                connection,
                config["tenant_id"],
                NewEndpoint(receiver.url, ["message.sent"], "", 1),
                credentials.seal(Secrets(secret).stored, KEY),
            )["id"]

    yield made
    with ledger_database.statement() as connection:
        connection.exec_driver_sql("delete from webhook_endpoints")


def sent(database, config):
    batch_id = make_started(database, config, recipients=RECIPIENTS)
    finish(database, batch_id)
    with database.transaction() as connection:
        fold.fold(connection, chunks=100)


def test_who_is_killed_after_a_call_leaves_it_to_be_repeated_by_its_id(
    *, start, hear, receiver, ledger_database, config, broker
):
    """Nothing is lost; repeated is only what was under way, and is known again."""
    hear(receiver)
    for _ in range(CAP):
        receiver.hangs()
    sent(ledger_database, config)
    outgoing.publish_deliveries(ledger_database, broker)
    # A leader that died before it marked them publishes them once more.
    with ledger_database.statement() as connection:
        connection.exec_driver_sql("update webhook_deliveries set published_at = null")
    outgoing.publish_deliveries(ledger_database, broker)
    first = start()
    until(lambda: len(receiver.requests) >= CAP, "calls are under way")

    os.killpg(first.pid, signal.SIGKILL)
    start()

    def all_delivered():
        with ledger_database.statement() as connection:
            return connection.exec_driver_sql(
                "select bool_and(state = 'delivered') from webhook_deliveries"
            ).scalar_one()

    until(all_delivered, "everything is delivered")
    assert {one["data"]["seq"] for one in receiver.events} == set(range(RECIPIENTS))
    assert len(set(receiver.ids)) == RECIPIENTS
    assert len(receiver.ids) - RECIPIENTS <= CAP


def test_a_slow_endpoint_holds_up_no_other(
    *, start, hear, receiver, slow, ledger_database, config, broker
):
    """It has a cap of its own, however much of it waits."""
    hear(slow)
    for _ in range(RECIPIENTS):
        slow.hangs()
    sent(ledger_database, config)
    outgoing.publish_deliveries(ledger_database, broker)
    start()
    until(lambda: len(slow.requests) == CAP, "the slow one is busy")

    hear(receiver)
    sent(ledger_database, config)
    outgoing.publish_deliveries(ledger_database, broker)

    until(lambda: len(receiver.heard) == RECIPIENTS, "the other one hears all")
    assert len(slow.requests) == CAP


def test_what_nats_has_lost_is_published_again(
    *, start, hear, receiver, ledger_database, config, broker
):
    """By evidence: nothing is stored for the endpoint, and it is overdue."""
    hear(receiver)
    sent(ledger_database, config)
    outgoing.publish_deliveries(ledger_database, broker)
    assert outgoing.recover(ledger_database, broker, keep_s=1e6) == 0
    broker.flush("outgoing")
    with ledger_database.statement() as connection:
        connection.exec_driver_sql(
            "update webhook_deliveries set published_at = now() - interval '2 min',"
            " next_attempt_at = now() - interval '2 min'"
        )

    again = outgoing.recover(ledger_database, broker, keep_s=1e6)
    outgoing.publish_deliveries(ledger_database, broker)
    start()

    assert again == RECIPIENTS
    until(lambda: len(receiver.heard) == RECIPIENTS, "all are heard")
