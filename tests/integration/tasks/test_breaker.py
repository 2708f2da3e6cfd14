"""A provider that fails: what is called of it, what waits, and what becomes of that."""

import heapq
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text

from brokers.delivery import Choice
from models.outcome import Hold
from models.queries import holding
from telemetry import BREAKER_PROBES
from tests.factories import fields_of, set_chunk

AT_ONCE = "not_before = null"
LONG_AGO = """refusals = '[{"members": "1", "since": 0, "times": 2}]'"""


def until(is_so, what, *, within_s=30.0):
    """Return when `is_so()`."""
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"Not in time: {what}."
        threading.Event().wait(0.01)


def probes():
    """Groups that went out as probes so far."""
    return BREAKER_PROBES.labels("custom")._value.get()


@dataclass
class Line:
    """A queue in which each message comes back when its delay is over."""

    deliver: object
    batch_id: object
    due: list = field(default_factory=list)
    left: int = 0
    lock: threading.Condition = field(default_factory=threading.Condition)

    def work(self):
        """Deliver what is due until everything is acknowledged."""
        while (taken := self._next()) is not None:
            no, times = taken
            delivery = self.deliver(self.batch_id, no=no, times=times)
            with self.lock:
                if delivery.choice is Choice.ACK:
                    self.left -= 1
                else:
                    due = time.monotonic() + delivery._delay_s
                    heapq.heappush(self.due, (due, no, times + 1))
                self.lock.notify_all()

    def _next(self):
        with self.lock:
            while self.left:
                wait_s = self.due[0][0] - time.monotonic() if self.due else 1.0
                if wait_s <= 0:
                    return heapq.heappop(self.due)[1:]
                self.lock.wait(wait_s)
            return None


@pytest.fixture
def quick(start_worker):
    """A worker whose breakers open for a moment."""
    return start_worker(breaker_wait_s=0.3, breaker_longest_wait_s=0.6)


@pytest.mark.parametrize("fault", [{"status": 503}, {"resetAfterAccept": True}])
def test_an_outage_makes_unknown_only_who_was_in_call(
    *, start, deliver, row, sink, quick, config_of, fault
):
    """And the probes: nobody is lost or repeated, other configs go on."""
    chunks, size, threads = 60, 4, 4
    batch_id = start(recipients=chunks * size, chunk=size, maxBatch=size)
    other = start()
    config_id = str(config_of(batch_id)["id"])
    line = Line(lambda *a, **k: deliver(*a, by=quick, **k), batch_id, left=chunks)
    line.due = [(0.0, no, 1) for no in range(chunks)]
    before = probes()

    with ThreadPoolExecutor(threads) as pool:
        done = [pool.submit(line.work) for _ in range(threads)]
        until(lambda: len(sink.calls(batch_id)) > 8, "some calls are answered")
        sink.control(**fault)
        until(
            lambda: quick.breakers.of_config(config_id).state == "open",
            "the breaker is open",
        )
        called = len(sink.calls(batch_id))
        sink.control()
        assert deliver(other, by=quick).choice is Choice.ACK
        for one in done:
            one.result(60)

    rows = [row(batch_id, no) for no in range(chunks)]
    sent, unknown = (
        sum(one[name].count("1") for one in rows) for name in ("sent", "unknown")
    )
    assert all(one["state"] == "done" for one in rows)
    assert sent + unknown == chunks * size
    assert 0 < unknown <= (threads + probes() - before) * size
    seqs = [seq for call in sink.calls(batch_id) for seq in call.seqs.split(",")]
    assert len(seqs) == len(set(seqs))
    assert called < chunks
    assert max(one["crashes"] for one in rows) == 0


def test_who_waits_for_a_breaker_is_not_written_down(
    *, start, deliver, row, worker, config_of
):
    """No claim, no call, no attempt: the message comes back."""
    batch_id = start(url="http://127.0.0.1:9/", recipients=7, chunk=1)
    for no in range(5):
        assert deliver(batch_id, no=no).choice is Choice.POSTPONE
    before = row(batch_id, 5)

    delivery = deliver(batch_id, no=5)

    config_id = str(config_of(batch_id)["id"])
    assert worker.breakers.of_config(config_id).state == "open"
    assert delivery.choice is Choice.POSTPONE
    assert 0 < delivery._delay_s <= 1.25 * worker.settings.breaker_wait_s
    assert row(batch_id, 5) == before


def test_a_refusal_opens_no_breaker(start, deliver, sink, worker, config_of):
    """Not of a recipient, and not for going too fast."""
    batch_id = start(recipients=12, chunk=1)
    for no in range(12):
        sink.control(status=429 if no % 2 else 422)
        deliver(batch_id, no=no)

    config_id = str(config_of(batch_id)["id"])
    assert worker.breakers.of_config(config_id).state == "closed"


def test_who_was_refused_for_a_day_has_failed(
    *, start, deliver, row, sink, ledger_database
):
    """By recipient: the others are tried on. The reason tells."""
    batch_id = start(recipients=2)
    set_chunk(ledger_database, batch_id, LONG_AGO)
    sink.control(status=429)

    assert deliver(batch_id, times=2).choice is Choice.POSTPONE

    found = row(batch_id)
    assert (found["failed"], found["state"]) == ("10", "open")
    assert "Refused for now 3 times" in found["errors"]["0"]
    assert [(one["members"], one["times"]) for one in found["refusals"]] == [("2", 1)]


def test_who_was_refused_as_often_as_the_config_says_has_failed(
    *, start, deliver, row, sink, ledger_database, config_of
):
    batch_id = start(recipients=2)
    with ledger_database.statement() as connection:
        connection.execute(
            text("update batches set sealed = sealed || '{\"retryTimes\": 2}'"
                 " where id = :id"),
            {"id": batch_id},
        )  # fmt: skip
    sink.control(status=429)

    deliver(batch_id)
    after_one = row(batch_id)
    set_chunk(ledger_database, batch_id, AT_ONCE)
    # The endpoint asked for a second's pause.
    until(lambda: deliver(batch_id, times=2).choice is Choice.ACK, "both have failed")

    assert (after_one["failed"], after_one["refusals"][0]["times"]) == ("00", 1)
    assert (row(batch_id)["state"], row(batch_id)["failed"]) == ("done", "11")
    assert row(batch_id)["refusals"] == []


def test_nobody_waits_for_ever_for_a_provider_that_is_gone(
    *, start, deliver, row, ledger_database
):
    """When it has been failing longer than refusals are put up with."""
    batch_id = start(url="http://127.0.0.1:9/", recipients=6, chunk=1)
    with ledger_database.statement() as connection:
        connection.execute(
            text("update batches set sealed = sealed || '{\"retryForS\": 0}'"
                 " where id = :id"),
            {"id": batch_id},
        )  # fmt: skip
    for no in range(5):
        deliver(batch_id, no=no)

    assert deliver(batch_id, no=5, times=2).choice is Choice.ACK

    found = row(batch_id, 5)
    assert (found["state"], found["failed"], found["calls"]) == ("done", "1", 0)
    assert "failing for too long" in found["errors"]["0"]


def test_a_quota_that_comes_back_holds_the_config_until_then(
    *, start, config_of, ledger_database, worker
):
    """Discovery lets it go; what a person must mend stays held."""
    batches = [start() for _ in range(2)]
    plans = [worker.senders.of(str(one)).plan for one in batches]
    with ledger_database.transaction() as connection:
        for plan, ends in zip(plans, (0.0, None), strict=True):
            assert holding.hold(connection, plan, Hold("config", "Used up.", ends))
        assert not holding.hold(connection, plans[1], Hold("config", "Other.", 5.0))
    held = [config_of(one) for one in batches]

    with ledger_database.transaction() as connection:
        holding.release_lapsed(connection)

    assert [bool(one["held_until"]) for one in held] == [True, False]
    reasons = [config_of(one)["held_reason"] for one in batches]
    assert reasons == [None, "Used up."]
    assert fields_of(ledger_database, "batches", batches[0])["status"] == "processing"
