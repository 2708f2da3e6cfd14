"""Limits by level in the send path: overrides, providers' words, what is told."""

import time
from dataclasses import replace
from uuid import uuid4

import pytest
from pydantic import SecretStr

from brokers.delivery import Choice
from models.errors import InvalidInputError, NotFoundError
from models.limit import Limit
from models.provider_settings import ResendSettings, SesSettings
from models.queries import limits
from providers.guard import Guard
from providers.resend import Resend
from providers.ses import Ses
from tests.fakes.resend import FakeResend
from tests.fakes.ses import FakeSes

LOCAL = Guard.of(ports="443", networks="127.0.0.0/8")
MAIL = {"subject": "S", "text": "T", "from": "a@example.com"}


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
    """Return a function that lets a batch be sent by another provider's plan."""

    def put(batch_id, name, provider):
        known = worker.senders._senders
        sender = worker.senders.of(str(batch_id))
        plan = replace(
            sender.plan,
            provider=name,
            settings={"region": "eu-central-1"} if name == "ses" else {},
        )
        monkeypatch.setitem(
            known, str(batch_id), replace(sender, plan=plan, provider=provider)
        )
        return plan

    return put


@pytest.fixture
def override(ledger_database):
    """Return a function that sets an override; all are gone after the test."""
    scopes = []

    def put(scope, per_s, burst=None):
        with ledger_database.transaction() as connection:
            limits.set_override(connection, scope, per_s=per_s, burst=burst)
        scopes.append(scope)

    yield put
    with ledger_database.transaction() as connection:
        for scope in scopes:
            limits.remove_override(connection, scope)


def until(is_so, *, within_s=15.0) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, "It never came to be."
        time.sleep(0.02)


def bucket_of(worker, plan, name):
    found = worker.limits.of(plan)
    return next(level.bucket for level in found if level.name == name)


def emptied(worker, plan):
    bucket = bucket_of(worker, plan, "config")
    while not worker.limiter.take([bucket], 1):
        pass


def test_an_override_holds_within_seconds_and_ends_so(
    start, worker, override, ledger_database
):
    """Without a restart, whoever asks."""
    plan = worker.senders.of(str(start(limit=Limit(50.0, 25.0)))).plan
    scope = f"tenant:{plan.tenant_id}"
    before = [level.name for level in worker.limits.of(plan)]

    override(scope, 7.0)
    until(lambda: "tenant" in [level.name for level in worker.limits.of(plan)])
    limited = bucket_of(worker, plan, "tenant")
    with ledger_database.transaction() as connection:
        assert limits.remove_override(connection, scope)
    until(lambda: "tenant" not in [level.name for level in worker.limits.of(plan)])

    assert before == ["system", "config"]
    assert (limited.scope, limited.limit) == (scope, Limit(7.0, 3.5))


def test_a_lowered_burst_makes_smaller_calls(start, deliver, worker, sink, override):
    """The grid's call of ten is cut, so that its tokens can be had."""
    batch_id = start(recipients=10, limit=Limit(1000.0, 1000.0))
    plan = worker.senders.of(str(batch_id)).plan
    override(f"config:{plan.config_id}", 1000.0, 6.0)
    until(lambda: bucket_of(worker, plan, "config").limit.burst == 6.0)

    until(lambda: deliver(batch_id).choice is Choice.ACK)

    assert [call.seqs for call in sink.calls(batch_id)] == ["0-2", "3-5", "6-8", "9"]


def test_it_is_told_what_a_batch_waits_for(start, deliver, row, worker):
    """The level and its rate; a message that came back is not even claimed."""
    batch_id = start(limit=Limit(1.0, 3.0))
    plan = worker.senders.of(str(batch_id)).plan
    emptied(worker, plan)

    assert deliver(batch_id).choice is Choice.POSTPONE
    assert deliver(batch_id, times=2).choice is Choice.POSTPONE

    [told] = worker.shortages.of([str(batch_id), str(uuid4())]).values()
    assert told["text"] == "limited by the config's 1/s"
    assert (told["level"], told["perSecond"], told["source"]) == (
        "config",
        1.0,
        "config",
    )
    assert row(batch_id)["token"] == 0


def test_a_tenant_that_waits_holds_up_no_other(start, deliver, worker, sink):
    """Its message goes back at once; the next tenant's is sent."""
    poor, rich = start(limit=Limit(0.1, 1.0)), start()
    emptied(worker, worker.senders.of(str(poor)).plan)
    began = time.monotonic()

    waits = deliver(poor)
    sent = deliver(rich)

    assert (waits.choice, sent.choice) == (Choice.POSTPONE, Choice.ACK)
    assert len(sink.calls(rich)) == 1
    assert time.monotonic() - began < 5


def test_resends_headers_set_the_rate_of_calls(
    start, deliver, worker, fake_of, sent_by
):
    """Ten a second it says; none is left in this one, so all wait for the next."""
    fake = fake_of(FakeResend)
    batch_id = start(recipients=4, content=MAIL)
    resend = Resend(ResendSettings(), "KEY", guard=LOCAL, base_url=fake.url)
    plan = sent_by(batch_id, "resend", resend)
    calls = bucket_of(worker, plan, "requests")
    assert worker.limiter.limit_of(calls).per_s == 2.0
    fake.rate = {"limit": "10", "remaining": "0", "reset": "2"}

    until(lambda: deliver(batch_id).choice is Choice.ACK)

    assert worker.limiter.limit_of(calls).per_s == 10.0
    assert worker.limiter.ask([calls], 0, requests=1).wait_s > 1.0


def test_ses_is_asked_for_its_rate_before_the_first_call(
    start, deliver, worker, fake_of, sent_by
):
    """A sandbox of 1/s lowers the config's 14/s for every process at once."""
    fake = fake_of(FakeSes)
    fake.account["SendQuota"]["MaxSendRate"] = 1.0
    batch_id = start(content=MAIL, limit=Limit.of(14.0))
    settings = SesSettings("eu-central-1")
    ses = Ses(settings, "ID", "SECRET", guard=LOCAL, base_url=fake.url)
    plan = sent_by(batch_id, "ses", ses)

    first = deliver(batch_id)
    assert (first.choice, fake.took) == (Choice.POSTPONE, [])
    until(lambda: deliver(batch_id).choice is Choice.ACK or len(fake.took) > 0)

    bucket = bucket_of(worker, plan, "config")
    assert worker.limiter.limit_of(bucket) == Limit(1.0, 1.0)
    assert len(fake.took) == 1
    told = worker.shortages.of([str(batch_id)])[str(batch_id)]
    assert told["text"].startswith("limited by the config's")
    assert told["nowPerSecond"] == 1.0


@pytest.mark.parametrize("is_there", [True, False])
def test_one_process_asks_for_an_account_and_all_heed_it(
    *, start, start_worker, worker, sent_by, fake_of, is_there
):
    """Dragonfly away: each asks itself, and knows as much."""
    fake = fake_of(FakeSes)
    fake.account["SendQuota"]["MaxSendRate"] = 1.0
    ses = Ses(
        SesSettings("eu-central-1"), "ID", "SECRET", guard=LOCAL, base_url=fake.url
    )
    plan = sent_by(start(content=MAIL, limit=Limit.of(14.0)), "ses", ses)
    away = {} if is_there else {"dragonfly_url": SecretStr("redis://127.0.0.1:9/0")}
    processes = [start_worker(**away) for _ in range(3)]

    def have_asked():
        waits = [
            one.words.wait_for_account(plan, one.limits.of(plan), ses)
            for one in processes
        ]
        return not any(waits)

    until(have_asked)

    questions = [one for one in fake.requests if one.path == "/v2/email/account"]
    assert len(questions) == (1 if is_there else 3)
    bucket = bucket_of(worker, plan, "config")
    rates = [one.limiter.limit_of(bucket).per_s for one in processes]
    assert rates == [1.0] * 3


def test_the_effective_limits_of_a_config_can_be_read(start, worker, override):
    """With their sources, as the next batch is sent under them."""
    plan = worker.senders.of(str(start(limit=Limit(50.0, 25.0)))).plan
    override(f"config:{plan.config_id}", 9.0)

    with worker.database.statement() as connection:
        found = limits.effective_limits(connection, plan.config_id, system_per_s=1e6)
        with pytest.raises(NotFoundError):
            limits.effective_limits(connection, uuid4(), system_per_s=1e6)

    assert [(one.name, one.bucket.limit.per_s, one.source) for one in found] == [
        ("system", 1e6, "default"),
        ("config", 9.0, "override"),
    ]


@pytest.mark.parametrize(
    ("scope", "per_s", "burst"),
    [("galaxy", 1.0, None), ("system", 0.0, None), ("system", 1.0, 0.5)],
)
def test_an_override_that_makes_no_sense_is_refused(
    ledger_database, scope, per_s, burst
):
    """Nothing is stored; sending is stopped by other means."""
    with (
        ledger_database.transaction() as connection,
        pytest.raises(InvalidInputError),
    ):
        limits.set_override(connection, scope, per_s=per_s, burst=burst)
