"""While Dragonfly is away each process keeps to its part of half the rate."""

import pytest

from hot_state.local_buckets import LocalBuckets
from models.limit import Bucket, Limit


class Clock:
    """A clock that a test moves by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def local(clock) -> LocalBuckets:
    """One process of two: a quarter of every rate."""
    return LocalBuckets(2, clock=clock)


BUCKET = Bucket("config:1", Limit(100.0, 40.0))


def take(local, tokens, *buckets) -> float:
    """Return the wait; 0.0 when so many tokens of each bucket were taken."""
    short = local.ask([(bucket, tokens) for bucket in buckets or [BUCKET]])
    return short.wait_s if short else 0.0


def test_buckets_begin_empty_and_fill_at_their_part(local, clock):
    """A quarter of 100 a second: ten tokens take 0.4 s."""
    assert take(local, 10) == pytest.approx(0.4)

    clock.now_s = 0.4001

    assert take(local, 10) == 0.0
    assert take(local, 10) == pytest.approx(0.4, rel=0.01)


def test_a_take_larger_than_the_part_of_the_burst_still_succeeds(local, clock):
    """A call cannot be cut, so a bucket saves up for the largest one asked for."""
    take(local, 40)

    clock.now_s = 100.0

    assert take(local, 40) == 0.0
    assert take(local, 1) > 0


def test_all_buckets_or_none(local, clock):
    """A token of one level is not spent where another level has none."""
    poor = Bucket("tenant:1", Limit(1.0, 40.0))
    take(local, 10, BUCKET, poor)

    clock.now_s = 1.0

    assert take(local, 10, BUCKET, poor) == pytest.approx(39.0)
    assert take(local, 10) == 0.0


def test_what_is_owed_is_earned_again_with_time(local, clock):
    """Dragonfly's bucket is charged only for what is not made good meanwhile."""
    take(local, 10)
    clock.now_s = 1.0
    take(local, 10)
    assert local.owed() == [(BUCKET, pytest.approx(10.0))]

    clock.now_s = 1.2

    assert local.owed() == [(BUCKET, pytest.approx(5.0))]
    local.give_back([(BUCKET, 6)])
    assert local.owed() == []


def test_after_clearing_buckets_begin_empty(local, clock):
    """What was saved up in one absence is not spent in the next."""
    take(local, 10)
    clock.now_s = 10.0
    local.clear()

    assert take(local, 10) > 0
