"""Sets, the grid, the order of statuses, plans and times."""

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models import bits
from models.errors import InvalidInputError
from models.jobs import SendChunk, job_of
from models.limit import CHUNK_WINDOW_S, Limit, grid
from models.plan import Plan
from models.status import (
    OUTCOMES,
    BatchStatus,
    RecipientStatus,
    counted_as,
    follows,
    sources_of,
)
from models.timing import Timing

sizes = st.integers(1, 600)
statuses = st.sampled_from(RecipientStatus)


@given(sizes, st.data())
def test_a_set_survives_its_bit_string(size, data):
    """Position 0 is written first."""
    members = data.draw(st.integers(0, bits.everyone(size)))

    text = bits.to_bit_string(members, size)

    assert bits.from_bit_string(text) == members
    assert [at for at, bit in enumerate(text) if bit == "1"] == bits.positions(members)
    assert bits.of_positions(bits.positions(members)) == members
    assert len(text) == size


def test_no_bit_string_is_nobody():
    assert bits.from_bit_string(None) == 0
    assert bits.positions(0) == []


@given(
    per_s=st.floats(0.01, 1e6),
    burst=st.floats(1, 1e6),
    max_batch=st.integers(1, 10_000),
    largest=st.integers(1, 5000),
)
def test_the_grid_fits_the_limit(per_s, burst, max_batch, largest):
    """Rule 2: whole calls, none above the burst, at most 5 s unless one call is."""
    cut = grid(Limit(per_s, burst), max_batch=max_batch, largest_chunk=largest)

    assert cut.chunk % cut.call == 0
    assert 1 <= cut.call <= min(max_batch, burst, largest)
    assert cut.chunk <= largest
    assert cut.chunk == cut.call or cut.chunk <= per_s * CHUNK_WINDOW_S
    assert cut.chunk + cut.call > min(largest, int(per_s * CHUNK_WINDOW_S))


@given(statuses, statuses, statuses)
def test_statuses_have_one_order(one, two, three):
    """Total and without circles, so news may come in any order."""
    assert follows(one, after=two) + follows(two, after=one) == (one != two)
    if follows(two, after=one) and follows(three, after=two):
        assert follows(three, after=one)


def test_a_fact_outranks_what_we_only_believe():
    """The design's order of rank."""
    ranked = "pending queued sending unknown failed sent delivered opened clicked"
    for lower, higher in pairwise(map(RecipientStatus, ranked.split())):
        assert follows(higher, after=lower)
    assert all(follows(RecipientStatus.COMPLAINED, after=s) for s in RecipientStatus
               if s != RecipientStatus.COMPLAINED)  # fmt: skip


@given(statuses)
def test_each_status_counts_in_one_counter_or_none(status):
    """What a provider reports later happened to a message that was sent."""
    counter = counted_as(status)

    assert counter is None or counter in OUTCOMES
    assert (counter is None) == follows(RecipientStatus.UNKNOWN, after=status)
    assert (counter == RecipientStatus.SENT) == (status.rank >= OUTCOMES[0].rank)


def test_batches_change_as_the_design_draws_them():
    """Nothing leaves failed and cancelled; only an operator reopens a completed one."""
    assert set(sources_of(BatchStatus.CANCELLED)) == {"queued", "processing", "paused"}
    assert set(sources_of(BatchStatus.COMPLETED)) == {"processing", "paused"}
    assert set(sources_of(BatchStatus.PROCESSING)) == {"queued", "paused", "completed"}
    assert set(sources_of(BatchStatus.FAILED)) == {"processing"}


texts = st.text(max_size=5)
values = st.dictionaries(texts, texts | st.integers() | st.booleans(), max_size=3)


@given(
    max_batch=st.integers(1, 1000),
    keyed=st.booleans(),
    content=values,
    policy=st.sampled_from(["at_most_once", "at_least_once"]),
    limit=st.builds(Limit, st.floats(1, 1e6), st.floats(1, 1e6)),
    largest=st.integers(1, 5000),
)
def test_a_plan_survives_being_sealed(
    *, max_batch, keyed, content, policy, limit, largest
):
    """What was decided at *send* is what every worker reads."""
    batch = {"id": "b", "tenant_id": "t", "payload": content, "config_id": "c"}
    settings = {"url": "http://127.0.0.1:9/", "maxBatch": max_batch,
                "idempotencyKeys": keyed}  # fmt: skip
    config = {"id": "c", "revision": 3, "channel": "email", "provider": "custom",
              "settings": settings, "rate_per_s": limit.per_s,
              "rate_burst": limit.burst, "policy": policy}  # fmt: skip

    plan = Plan.seal(batch, config, largest_chunk=largest)

    assert Plan.of_row({**batch, "sealed": plan.sealed()}) == plan
    assert plan.keyed == keyed
    assert plan.account == "c:3"
    assert plan.grid.call <= max_batch


@given(*[st.floats(0.1, 200)] * 4)
def test_times_that_do_not_fit_are_refused(call_s, margin_s, lease_s, ack_s):
    """Rule 12, whatever is chosen."""
    fits = lease_s >= call_s + 3 * margin_s and ack_s >= lease_s + 2 * margin_s
    if not fits:
        with pytest.raises(InvalidInputError) as refused:
            Timing(call_s, margin_s, lease_s, ack_s)
        assert refused.value.field in ("LEASE_S", "ACK_WAIT_S")
        return

    timing = Timing(call_s, margin_s, lease_s, ack_s)

    # A call that just begins ends, and is written down, before the lease does.
    assert timing.start_within_s + call_s + margin_s == pytest.approx(lease_s)
    assert timing.start_within_s >= 2 * margin_s - 1e-9
    assert timing.take_over_after_s > 0


def test_the_times_of_the_design_fit():
    timing = Timing()

    assert (timing.start_within_s, timing.take_over_after_s) == (20.0, 5.0)


@given(st.dictionaries(texts, st.integers(), max_size=3))
def test_a_job_of_a_newer_sender_is_understood(newer):
    """Fields that we do not know are left aside."""
    assume(not set(newer) & {"no", "first", "size", "epoch"})
    job = SendChunk("b", "t", no=1, first=500, size=500, epoch=0)
    values = {name: getattr(job, name) for name in SendChunk.__slots__}

    assert job_of(SendChunk, {**newer, **values}) == job
