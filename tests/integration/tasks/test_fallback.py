"""Another config takes over while a provider fails, for those in no doubt."""

import threading
import time

import pytest
from sqlalchemy import text

from brokers.delivery import Choice
from models.outcome import Hold, Outcome
from models.queries import holding
from models.queries.reads import sent_by_fallback
from scheduler.sync import sync
from tests.factories import claimed, make_config, set_chunk

GONE = "http://127.0.0.1:9/"
AT_ONCE = "not_before = null"
LEASE_OVER = "lease_until = now() - interval '9 s'"


def until(is_so, what, *, within_s=20.0):
    """Return when `is_so()`."""
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"Not in time: {what}."
        threading.Event().wait(0.05)


@pytest.fixture(scope="module")
def another_sink(start_sink):
    return start_sink("--keyed")


@pytest.fixture
def other(another_sink):
    """The fall-back's provider, which keeps keys too."""
    yield another_sink
    another_sink.control()


@pytest.fixture
def breaker_wait_s():
    """How long a breaker stays open: longer than a test, but where a test says so."""
    return 20.0


@pytest.fixture
def quick(start_worker, breaker_wait_s):
    """A worker whose breakers open soon."""
    return start_worker(
        breaker_failures=2,
        breaker_wait_s=breaker_wait_s,
        breaker_longest_wait_s=breaker_wait_s,
    )


@pytest.fixture
def falling_back(start, other, ledger_database):
    """Start a batch whose config falls back on `other`; settings of the first."""

    def started(*, fallback=None, **fields):
        config = make_config(ledger_database, **({"url": other.url} | (fallback or {})))
        return start(fallback=config, **fields), config

    return started


@pytest.fixture
def opened(quick, deliver, ledger_database, config_of):
    """Open the breaker of a batch's config by chunks of it that fail."""

    def opens(batch_id, *, nos):
        config_id = str(config_of(batch_id)["id"])

        def is_open():
            for no in nos:
                set_chunk(ledger_database, batch_id, AT_ONCE, no=no)
                deliver(batch_id, by=quick, no=no)
            return quick.breakers.of_config(config_id).state == "open"

        until(is_open, "the breaker is open")

    return opens


def test_the_fallback_is_taken_once_the_breaker_is_open(
    *, falling_back, opened, deliver, row, quick, other, ledger_database
):
    """Also by those whom the first provider refused for now; the row tells."""
    batch_id, config = falling_back(url=GONE, recipients=6, chunk=1)
    first = deliver(batch_id, by=quick)
    before = len(other.calls(batch_id))
    opened(batch_id, nos=[1, 2])

    for no in range(6):
        set_chunk(ledger_database, batch_id, AT_ONCE, no=no)
        assert deliver(batch_id, by=quick, no=no, times=2).choice is Choice.ACK

    assert (first.choice, before) == (Choice.POSTPONE, 0)
    rows = [row(batch_id, no) for no in range(6)]
    assert all((one["sent"], one["by_fallback"]) == ("1", "1") for one in rows)
    assert sorted(call.seqs for call in other.calls(batch_id)) == [*"012345"]
    assert str(config["id"]) in quick.senders.of(str(batch_id)).fallback.plan.account
    with ledger_database.statement() as connection:
        assert sent_by_fallback(connection, batch_id) == (6, 6)


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("breaker_wait_s", [0.3])
def test_who_is_in_doubt_is_never_given_to_the_fallback(
    *, falling_back, opened, deliver, row, quick, sink, other, ledger_database, keyed
):
    """Without a key unknown; with one repeated by the first, when it is back."""
    batch_id, _ = falling_back(
        recipients=8, chunk=2, maxBatch=1 if keyed else 2, idempotencyKeys=keyed
    )
    sink.control(resetAfterAccept=True)
    opened(batch_id, nos=[0, 1])
    for no in range(4):
        set_chunk(ledger_database, batch_id, AT_ONCE, no=no)
        deliver(batch_id, by=quick, no=no, times=2)
    fallen = {int(call.seqs[0]) for call in other.calls(batch_id)}
    called = {int(call.seqs[0]) for call in sink.calls(batch_id)}
    sink.control()

    def all_done():
        for no in range(4):
            set_chunk(ledger_database, batch_id, AT_ONCE, no=no)
            deliver(batch_id, by=quick, no=no, times=2)
        return all(row(batch_id, no)["state"] == "done" for no in range(4))

    until(all_done, "everybody has an end")
    rows = [row(batch_id, no) for no in range(4)]
    assert fallen
    assert called
    assert not fallen & called
    delivered = [*sink.calls(batch_id), *other.calls(batch_id)]
    keys = {call.key for call in delivered}
    if keyed:
        assert "".join(one["sent"] for one in rows) == "1" * 8
        assert len([call for call in delivered if call.is_delivery]) == len(keys)
    else:
        assert len(delivered) == len(keys) == 4
        assert "".join(one["unknown"] for one in rows).count("1") == 2 * len(called)


def test_who_was_reopened_waits_for_the_first_provider(
    *, falling_back, opened, deliver, row, quick, other, ledger_database
):
    """Their doubt is known to it alone; the rest of the chunk goes."""
    batch_id, _ = falling_back(
        url=GONE, recipients=9, chunk=3, maxBatch=3, policy="at_least_once"
    )
    opened(batch_id, nos=[1, 2])
    set_chunk(ledger_database, batch_id, "doubt = b'010', reopened = 1, token = 1")

    assert deliver(batch_id, by=quick, times=2).choice is Choice.POSTPONE

    assert (row(batch_id)["sent"], row(batch_id)["state"]) == ("101", "open")
    assert [call.seqs for call in other.calls(batch_id)] == ["0,2"]


@pytest.mark.parametrize("breaker_wait_s", [0.3])
def test_the_first_provider_is_taken_again_when_it_answers(
    *, falling_back, opened, deliver, row, quick, sink, other, ledger_database
):
    batch_id, _ = falling_back(recipients=20, chunk=1)
    sink.control(status=503)
    opened(batch_id, nos=[0, 1])
    assert deliver(batch_id, by=quick, no=2, times=2).choice is Choice.ACK
    sink.control()

    def answered():
        nonlocal no
        deliver(batch_id, by=quick, no=no, times=2)
        no += 1
        return row(batch_id, no - 1)["by_fallback"] is None

    no = 3
    until(answered, "a probe is answered")
    assert deliver(batch_id, by=quick, no=no, times=2).choice is Choice.ACK

    assert row(batch_id, 2)["by_fallback"] == "1"
    assert row(batch_id, no)["by_fallback"] is None
    assert len(sink.calls(batch_id)) >= 4
    assert len({c.seqs for c in other.calls(batch_id)}) == len(other.calls(batch_id))


def test_a_fallback_that_is_held_is_not_taken(
    *, falling_back, opened, deliver, row, quick, other, ledger_database
):
    """What its provider demands holds it, and not the batch's own config."""
    batch_id, config = falling_back(url=GONE, recipients=6, chunk=1)
    opened(batch_id, nos=[0, 1])
    other.control(status=401)
    deliver(batch_id, by=quick, no=2, times=2)
    held = standing(ledger_database, config["id"])
    other.control()
    # What this process has read lasts two seconds.
    quick.accounts._read_at = float("-inf")

    delivery = deliver(batch_id, by=quick, no=3, times=2)

    assert held["held_reason"]
    assert delivery.choice is Choice.POSTPONE
    assert len(other.calls(batch_id)) == 1
    assert row(batch_id, 3)["calls"] == 0


def test_two_that_fail_are_waited_for_and_in_the_end_not_any_more(
    *, falling_back, opened, deliver, row, quick, ledger_database
):
    batch_id, config = falling_back(
        url=GONE, fallback={"url": GONE}, recipients=20, chunk=1
    )
    opened(batch_id, nos=[0, 1])

    def both_open():
        deliver(batch_id, by=quick, no=2)
        set_chunk(ledger_database, batch_id, AT_ONCE, no=2)
        return quick.breakers.of_config(str(config["id"])).state == "open"

    until(both_open, "the fall-back's breaker is open")
    waited = deliver(batch_id, by=quick, no=3)
    with ledger_database.statement() as connection:
        connection.execute(
            text("update batches set sealed = sealed || '{\"retryForS\": 0}'"
                 " where id = :id"),
            {"id": batch_id},
        )  # fmt: skip
    quick.senders._senders.clear()
    until(
        lambda: deliver(batch_id, by=quick, no=4, times=2).choice is Choice.ACK,
        "nobody waits any more",
    )

    assert waited.choice is Choice.POSTPONE
    assert waited._delay_s > 0
    assert (row(batch_id, 4)["failed"], row(batch_id, 4)["calls"]) == ("1", 0)


@pytest.mark.parametrize("keyed", [False, True])
def test_a_lost_workers_call_to_the_fallback_is_the_fallbacks(
    *, falling_back, deliver, row, quick, sink, other, ledger_database, keyed
):
    """Repeated under its key there, or given up; never called by the first."""
    batch_id, _ = falling_back(fallback={"idempotencyKeys": keyed})
    account = quick.senders.of(str(batch_id)).fallback.plan.account
    claimed(ledger_database, batch_id, calls=[0b011])
    called_by(ledger_database, batch_id, account)

    assert deliver(batch_id, by=quick, times=2).choice is Choice.ACK

    found = row(batch_id)
    assert [call.seqs for call in sink.calls(batch_id)] == ["2"]
    if keyed:
        assert [call.seqs for call in other.calls(batch_id)] == ["0-1"]
        assert (found["sent"], found["unknown"]) == ("111", "000")
    else:
        assert other.calls(batch_id) == []
        assert (found["sent"], found["unknown"]) == ("001", "110")


def test_a_record_of_the_fallback_is_read_by_its_own_rule(
    *, falling_back, row, quick, ledger_database
):
    """Its config keeps no keys: who is not in the record is not open again."""
    batch_id, _ = falling_back(idempotencyKeys=True)
    account = quick.senders.of(str(batch_id)).fallback.plan.account
    claimed(ledger_database, batch_id, calls=[0b111])
    called_by(ledger_database, batch_id, account)
    quick.outcomes.record(str(batch_id), 0, 1, 0, 3, Outcome(sent=0b001))

    sync(ledger_database, quick.outcomes, quick.timing)

    assert (row(batch_id)["state"], row(batch_id)["sent"]) == ("claimed", "000")


def test_a_fallback_that_cannot_be_built_is_left_out(
    *, falling_back, deliver, row, quick, ledger_database
):
    """A worker without its credentials sends by the first config as ever."""
    batch_id, config = falling_back()
    with ledger_database.transaction() as connection:
        connection.execute(
            text("update send_configs set credentials = 'no box' where id = :id"),
            {"id": config["id"]},
        )

    assert deliver(batch_id, by=quick).choice is Choice.ACK

    assert row(batch_id)["sent"] == "111"
    assert quick.senders.of(str(batch_id)).fallback is None


def test_a_hold_of_the_first_config_stops_the_fallback_too(
    *, falling_back, opened, deliver, quick, other, ledger_database
):
    """A person has to look at it first."""
    batch_id, _ = falling_back(url=GONE, recipients=6, chunk=1)
    opened(batch_id, nos=[0, 1])
    plan = quick.senders.of(str(batch_id)).plan
    with ledger_database.transaction() as connection:
        assert holding.hold(connection, plan, Hold("config", "Look at it."))

    assert deliver(batch_id, by=quick, no=2, times=2).choice is Choice.ACK

    assert other.calls(batch_id) == []


def called_by(database, batch_id, account):
    """Have the calls under way be a lost worker's, just begun by this account."""
    change = """in_call = jsonb_set(
        jsonb_set(in_call, '{0,begun_at}', to_jsonb(extract(epoch from now()))),
        '{0,account}', to_jsonb('%s'::text)
    )"""
    set_chunk(database, batch_id, f"{change % account}, {LEASE_OVER}")


def standing(database, config_id):
    with database.statement() as connection:
        found = connection.execute(
            text("select * from send_configs where id = :id"), {"id": config_id}
        )
        return dict(found.mappings().one())
