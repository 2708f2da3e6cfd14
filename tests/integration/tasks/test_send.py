"""One delivery of one chunk: what is called, written and settled."""

import time
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from brokers.delivery import Choice
from embedded.sink_ledger import from_ranges
from models import bits
from models.limit import Limit
from tasks.send import PoisonChunkError
from tests.factories import (
    claimed,
    set_chunk,
)

LEASE_OVER = "lease_until = now() - interval '9 s'"
AT_ONCE = "not_before = null"


def test_a_chunk_is_sent_and_its_message_acked(start, deliver, row, sink, worker):
    """Ledger, bitmaps and sink agree; a copy that comes later calls nobody."""
    batch_id = start()

    assert deliver(batch_id).choice is Choice.ACK
    assert deliver(batch_id, times=2).choice is Choice.ACK

    assert (row(batch_id)["state"], row(batch_id)["sent"]) == ("done", "111")
    assert worker.outcomes.counts(str(batch_id))["sent"] == 3
    [call] = sink.calls(batch_id)
    assert (call.seqs, call.key) == ("0-2", f"{batch_id}:0:1")


def test_a_missing_variable_fails_its_recipient_alone(start, deliver, row, sink):
    """It is not called; the tenant may read why."""
    batch_id = start(recipients=[{"name": "A"}, {}, {"name": "C"}])

    deliver(batch_id)

    found = row(batch_id)
    assert (found["sent"], found["failed"]) == ("101", "010")
    assert found["errors"] == {"1": 'Variable "name" is missing.'}
    assert [call.seqs for call in sink.calls(batch_id)] == ["0,2"]


def test_the_suppressed_are_left_out(start, deliver, row, sink, ledger_database):
    """Those known at expansion, and those added since."""
    batch_id = start()
    with ledger_database.transaction() as connection:
        connection.execute(
            text("insert into suppressions (channel, address, reason)"
                 " values ('email', 'user2@example.com', 'asked')")
        )  # fmt: skip

    deliver(batch_id, suppressed=[0])

    with ledger_database.transaction() as connection:
        connection.execute(text("delete from suppressions"))
    assert (row(batch_id)["sent"], row(batch_id)["suppressed"]) == ("010", "101")
    assert [call.seqs for call in sink.calls(batch_id)] == ["1"]


def test_when_nobody_is_to_be_called_the_chunk_is_done(start, deliver, row, sink):
    """No call, and no second delivery."""
    batch_id = start(recipients=[{}, {}])

    assert deliver(batch_id).choice is Choice.ACK

    assert (row(batch_id)["state"], row(batch_id)["failed"]) == ("done", "11")
    assert sink.calls(batch_id) == []


@pytest.mark.parametrize("keyed", [False, True])
def test_too_many_requests_is_tried_again_when_the_endpoint_says(
    *, start, deliver, row, sink, ledger_database, keyed
):
    """429 proves that nobody was taken: open again, after `Retry-After`."""
    batch_id = start(idempotencyKeys=keyed)
    sink.control(status=429, times=1)

    delivery = deliver(batch_id)

    found = row(batch_id)
    assert delivery.choice is Choice.POSTPONE
    # A little more, so that those who were refused together do not come together.
    delay_ns = orjson.loads(delivery.nak.removeprefix(b"-NAK "))["delay"]
    assert 1e9 <= delay_ns <= 1.25e9
    assert (found["state"], found["doubt"], found["in_call"]) == ("open", "000", [])
    assert found["not_before"] is not None
    set_chunk(ledger_database, batch_id, AT_ONCE)
    # The whole config waits as long, so that no other chunk runs into the same.
    early = deliver(batch_id, times=2)
    assert early.choice is Choice.POSTPONE
    assert 0 < early._delay_s <= 1.0 + 1e-3
    until_acked(deliver, batch_id, times=3)
    assert row(batch_id)["sent"] == "111"


def test_a_call_in_doubt_is_repeated_as_it_was(
    start, deliver, row, sink, ledger_database
):
    """Same members, key and body, until an answer comes; a 429 proves nothing."""
    batch_id = start(idempotencyKeys=True)
    sink.control(hang=True, times=1)
    assert deliver(batch_id).choice is Choice.POSTPONE
    found = row(batch_id)
    assert (found["state"], found["doubt"]) == ("claimed", "111")
    assert (found["lease_until"], len(found["in_call"])) == (None, 1)

    sink.control(status=429, times=1)
    set_chunk(ledger_database, batch_id, AT_ONCE)
    assert deliver(batch_id, times=2).choice is Choice.POSTPONE
    sink.control()
    set_chunk(ledger_database, batch_id, AT_ONCE)
    until_acked(deliver, batch_id, times=3)

    calls = sink.calls(batch_id)
    assert len(calls) == 3
    assert len({(call.key, call.body_hash, call.seqs) for call in calls}) == 1
    assert (row(batch_id)["sent"], row(batch_id)["crashes"]) == ("111", 0)


def test_a_key_that_grew_too_old_is_given_up(
    *, start, deliver, row, sink, start_worker, ledger_database
):
    """An hour before its life is over nobody is called again."""
    batch_id = start(idempotencyKeys=True)
    sink.control(hang=True, times=1)
    deliver(batch_id)
    set_chunk(ledger_database, batch_id, AT_ONCE)

    late = start_worker(key_life_s=3600.0)
    assert deliver(batch_id, times=2, by=late).choice is Choice.ACK

    assert row(batch_id)["unknown"] == "111"
    assert len(sink.calls(batch_id)) == 1


@pytest.mark.parametrize(
    "fault", [{"hang": True}, {"status": 503}, {"resetAfterAccept": True}]
)
def test_without_a_key_no_answer_is_unknown(start, deliver, row, sink, fault):
    """At once, and nobody is called again."""
    batch_id = start()
    sink.control(**fault, times=1)

    assert deliver(batch_id).choice is Choice.ACK

    found = row(batch_id)
    assert (found["state"], found["unknown"], found["doubt"]) == ("done", "111", "111")
    deliver(batch_id, times=2)
    assert len(sink.calls(batch_id)) == 1


def test_an_endpoint_that_is_not_there_refused_for_now(start, deliver, row):
    """No byte left: it is tried again."""
    batch_id = start(url="http://127.0.0.1:9/")

    assert deliver(batch_id).choice is Choice.POSTPONE

    assert (row(batch_id)["state"], row(batch_id)["doubt"]) == ("open", "000")


def until_acked(deliver, batch_id, **fields) -> None:
    """Deliver until tokens are there and the chunk is done."""
    deadline = time.monotonic() + 10
    while deliver(batch_id, **fields).choice is Choice.POSTPONE:
        assert time.monotonic() < deadline, "It was never sent."


def emptied(worker, batch_id):
    plan = worker.senders.of(str(batch_id)).plan
    buckets = [level.bucket for level in worker.limits.of(plan)]
    while not worker.limiter.take(buckets, 1):
        pass


def test_without_tokens_a_chunk_waits_and_nothing_is_written(
    start, deliver, row, sink, worker
):
    """A nak with a delay; no claim and no retry is counted."""
    batch_id = start(limit=Limit(1.0, 3.0))
    emptied(worker, batch_id)
    before = row(batch_id)

    delivery = deliver(batch_id)

    assert delivery.choice is Choice.POSTPONE
    assert 1.0 < delivery._delay_s <= 3.0
    assert row(batch_id) == before
    assert sink.calls(batch_id) == []


def test_a_long_wait_goes_back_to_the_ledger(start, deliver, row, worker):
    """Over 30 s: unpublished, the message acked; expansion finds it when it is due."""
    batch_id = start(limit=Limit(0.01, 3.0))
    emptied(worker, batch_id)

    assert deliver(batch_id).choice is Choice.ACK

    found = row(batch_id)
    assert (found["state"], found["token"], found["epoch"]) == ("open", 0, 1)
    assert found["published_at"] is None
    assert found["not_before"] is not None


def test_an_answer_by_recipient_is_kept_by_recipient(start, deliver, row, start_sink):
    """Rejected in the provider's array: failed, each with its reason."""
    choosy = start_sink("--fail-rate", "0.5")
    batch_id = start(recipients=40, url=choosy.url)

    deliver(batch_id)

    [call] = choosy.calls(batch_id)
    rejected = [seq for part in from_ranges(call.rejected) for seq in part]
    found = row(batch_id)
    assert 0 < len(rejected) < 40
    assert bits.positions(bits.from_bit_string(found["failed"])) == rejected
    assert sorted(map(int, found["errors"])) == rejected
    assert found["sent"].count("1") == 40 - len(rejected)


def test_a_chunk_is_cut_into_calls(start, deliver, row, sink):
    """`maxBatch` 100 makes five calls of a chunk of 500, one key each."""
    batch_id = start(recipients=500, maxBatch=100)

    assert deliver(batch_id).choice is Choice.ACK

    calls = sink.calls(batch_id)
    assert [call.seqs for call in calls] == [
        "0-99", "100-199", "200-299", "300-399", "400-499",
    ]  # fmt: skip
    assert [call.key for call in calls] == [f"{batch_id}:0:{n}" for n in range(1, 6)]
    assert row(batch_id)["sent"] == "1" * 500


@pytest.mark.parametrize("max_batch", [1, 10])
def test_no_more_calls_are_under_way_than_allowed(
    start, deliver, start_worker, sink, max_batch
):
    """`MAX_CONCURRENT_EMAILS`, whichever chunks of a process the calls are of."""
    two_at_once = start_worker(max_concurrent_emails=2)
    batch_id = start(recipients=40, chunk=10, maxBatch=max_batch)
    sink.control(latencyMs=100)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda no: deliver(batch_id, no=no, by=two_at_once), range(4)))

    began = sorted(call.t for call in sink.calls(batch_id))
    assert len(began) == 40 / max_batch
    assert all(later - now >= 0.1 for now, later in zip(began, began[2:], strict=False))


@pytest.mark.parametrize("burst", [1e6, 10.0])
def test_single_calls_go_out_in_groups(start, deliver, row, sink, burst):
    """One recipient a call; a group is never larger than the burst."""
    batch_id = start(recipients=60, maxBatch=1, limit=Limit(1e6, burst))

    assert deliver(batch_id).choice is Choice.ACK

    calls = sink.calls(batch_id)
    assert sorted(int(call.seqs) for call in calls) == list(range(60))
    assert len({call.key for call in calls}) == 60
    assert (row(batch_id)["calls"], row(batch_id)["sent"]) == (60, "1" * 60)


def test_a_chunk_that_ends_its_workers_is_buried(start, deliver, row, ledger_database):
    """The fifth crash: who was in call is unknown, the others failed; a letter."""
    batch_id = start()
    claimed(ledger_database, batch_id, calls=[0b001])
    set_chunk(ledger_database, batch_id, f"crashes = 4, {LEASE_OVER}")

    with pytest.raises(PoisonChunkError):
        deliver(batch_id, times=6)

    found = row(batch_id)
    assert (found["state"], found["dead"], found["crashes"]) == ("done", True, 5)
    assert (found["unknown"], found["failed"]) == ("100", "011")


def test_a_message_that_came_back_is_claimed_before_it_is_rendered(
    start, deliver, row, sink
):
    """So that a job which kills workers is counted; then it is sent as ever."""
    batch_id = start()

    assert deliver(batch_id, times=2).choice is Choice.ACK

    assert (row(batch_id)["token"], row(batch_id)["sent"]) == (1, "111")
    assert len(sink.calls(batch_id)) == 1


def test_without_dragonfly_chunks_are_sent_as_ever(
    start, deliver, row, sink, start_worker
):
    """Fails open for claims; the ledger decides alone."""
    batch_id = start()
    alone = start_worker(dragonfly_url=SecretStr("redis://127.0.0.1:9/0"))

    # Its own buckets begin empty, as every bucket does whose past is not known.
    until_acked(deliver, batch_id, by=alone)

    assert row(batch_id)["sent"] == "111"
    assert len(sink.calls(batch_id)) == 1


def test_a_chunk_that_somebody_holds_is_left_to_them(
    start, deliver, row, sink, ledger_database
):
    """Nak for the rest of the lease."""
    batch_id = start()
    claimed(ledger_database, batch_id, calls=[0b111])

    delivery = deliver(batch_id)

    assert delivery.choice is Choice.POSTPONE
    assert delivery._delay_s == 30.0
    assert (row(batch_id)["token"], sink.calls(batch_id)) == (1, [])
