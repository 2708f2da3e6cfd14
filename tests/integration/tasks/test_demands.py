"""What a provider's answer demands beyond its own call."""

from dataclasses import replace

import orjson
import pytest
from sqlalchemy import text

from brokers.delivery import Choice
from models.errors import NotFoundError
from models.provider_settings import ResendSettings, TelnyxSettings
from models.queries.holding import release_config
from providers.guard import Guard
from providers.resend import Resend
from providers.telnyx import Telnyx
from tests.factories import fields_of, set_chunk
from tests.fakes.resend import FakeResend
from tests.fakes.telnyx import FakeTelnyx

LOCAL = Guard.of(ports="443", networks="127.0.0.0/8")
AT_ONCE = "not_before = null"


@pytest.fixture
def fake_of():
    """Return a function that starts a fake."""
    started = []

    def start_fake(kind):
        started.append(kind())
        return started[-1]

    yield start_fake
    for fake in started:
        fake.stop()


@pytest.fixture
def sent_by(worker, monkeypatch):
    """Return a function that lets a batch be sent by another provider."""

    def put(batch_id, provider):
        known = worker.senders._senders
        sender = worker.senders.of(str(batch_id))
        monkeypatch.setitem(known, str(batch_id), replace(sender, provider=provider))

    return put


@pytest.fixture
def telnyx(fake_of, sent_by):
    """Return a function that sends a batch by Telnyx, and its fake."""
    fake = fake_of(FakeTelnyx)
    settings = TelnyxSettings("+12125550199")

    def put(batch_id):
        sent_by(batch_id, Telnyx(settings, "KEY", guard=LOCAL, base_url=fake.url))
        return fake

    return put


def test_refused_credentials_hold_the_config_until_it_is_let_go(
    *, start, deliver, row, sink, ledger_database, config_of
):
    """Nobody fails of it, nobody is called meanwhile, and all are sent afterwards."""
    batch_id = start()
    sink.control(status=401, times=1)

    deliver(batch_id)
    held = config_of(batch_id)
    while_held = row(batch_id)
    deliver(batch_id)
    calls = len(sink.calls(batch_id))
    with ledger_database.transaction() as connection:
        release_config(connection, held["tenant_id"], held["id"])
    set_chunk(ledger_database, batch_id, AT_ONCE)
    last = deliver(batch_id, times=2)

    assert "check the send config's credentials" in held["held_reason"]
    assert (while_held["state"], while_held["failed"]) == ("open", "000")
    assert while_held["published_at"] is None
    assert calls == 1
    assert last.choice is Choice.ACK
    assert row(batch_id)["sent"] == "111"


def test_another_tenants_config_is_not_let_go(start, config_of, ledger_database):
    """It is not found."""
    config = config_of(start())

    with (
        ledger_database.transaction() as connection,
        pytest.raises(NotFoundError),
    ):
        release_config(connection, config["id"], config["id"])


def test_who_has_opted_out_fails_and_is_suppressed(
    *, start, deliver, row, telnyx, config_of, ledger_database
):
    """For this tenant and channel; the others are sent."""
    batch_id = start(recipients=3, maxBatch=1)
    fake = telnyx(batch_id)
    fake.says(fake.error(409, "40300", "STOP"))

    deliver(batch_id)

    found = row(batch_id)
    assert found["failed"].count("1") == 1
    assert found["sent"].count("1") == 2
    config = config_of(batch_id)
    with ledger_database.transaction() as connection:
        rows = connection.execute(
            text("delete from suppressions where tenant_id = :id returning *"),
            {"id": config["tenant_id"]},
        )
        [one] = rows.mappings()
    seq = found["failed"].index("1")
    assert (one["address"], one["channel"]) == (f"user{seq}@example.com", "email")
    assert "STOP" in one["reason"]


@pytest.mark.parametrize("names_sender", [True, False])
def test_a_blocked_sender_stops_what_is_sent_under_its_name(
    *, start, deliver, row, telnyx, config_of, ledger_database, names_sender
):
    """The batch that names it, or else the config whose sender it is."""
    content = {"text": "x", **({"from": "Us"} if names_sender else {})}
    batch_id = start(recipients=1, maxBatch=1, content=content)
    fake = telnyx(batch_id)
    fake.says(fake.error(400, "40003", "Blocked"))

    deliver(batch_id)

    batch = fields_of(ledger_database, "batches", batch_id)
    reasons = (batch["reason"], config_of(batch_id)["held_reason"])
    assert [bool(reason) for reason in reasons] == [names_sender, not names_sender]
    assert (batch["status"] == "paused") is names_sender
    assert (row(batch_id)["state"], row(batch_id)["failed"]) == ("open", "0")


def test_a_chunk_waits_for_the_limit_that_it_is_told(
    *, start, deliver, row, sent_by, fake_of
):
    """None is left in this window: the next call is made in the next one."""
    content = {"subject": "Hello", "text": "x"}
    batch_id = start(recipients=4, maxBatch=2, idempotencyKeys=True, content=content)
    fake = fake_of(FakeResend)
    fake.rate = {"limit": "2", "remaining": "0", "reset": "3"}
    settings = ResendSettings(sender="us@example.com")
    provider = Resend(settings, "re_1", guard=LOCAL, base_url=fake.url)
    sent_by(batch_id, provider)

    delivery = deliver(batch_id)

    found = row(batch_id)
    assert (found["state"], found["sent"], found["in_call"]) == ("open", "1100", [])
    assert len(fake.requests) == 1
    assert orjson.loads(delivery.nak.removeprefix(b"-NAK "))["delay"] == 3e9
    provider.close()
