"""The limiter's scripts by a clock that the test moves: hours in a second, exactly."""

import heapq
import random
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha1
from itertools import count

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hot_state import client as client_module
from hot_state import keys, limiter
from hot_state.limiter import Limiter
from models.limit import Bucket, Limit, Told

_TIME = b"redis.call('TIME')"
_MOVED = b"{redis.call('GET', 'clock:s'), redis.call('GET', 'clock:us')}"
#: A clock's step, and the last digits of a float.
_DIGITS = 1e-3


class Clock:
    """The server's clock; it also begins a new run of the server."""

    def __init__(self, client) -> None:
        self._client = client
        self.now_s = 0.0
        self._runs = count()

    def to(self, now_s: float) -> None:
        """Move it, in seconds since the test began."""
        self.now_s = now_s
        micros = round((1e6 + now_s) * 1e6)
        known = {"clock:s": micros // 1_000_000, "clock:us": micros % 1_000_000}
        self._client.mset(known)

    def restart(self) -> None:
        """Begin another run; what the former wrote is still there."""
        run = f"run-{next(self._runs)}"
        client_module._MARK.run(
            self._client, [keys.LIFETIME], [run, keys.LIFETIME_TTL_S]
        )


@pytest.fixture(scope="module")
def by_clock():
    """Scripts that read the test's clock."""
    with pytest.MonkeyPatch.context() as patch:
        scripts = [
            (limiter._TAKE, "_TAKE", limiter),
            (limiter._HEED, "_HEED", limiter),
            (client_module._MARK, "_MARK", client_module),
        ]
        for script, _, _ in scripts:
            text = script.text.replace(_TIME, _MOVED)
            assert text != script.text
            patch.setattr(script, "text", text)
            patch.setattr(script, "_sha", sha1(text, usedforsecurity=False).hexdigest())
        yield


@pytest.fixture(scope="module")
def clock_client(by_clock, server):
    # A new connection is greeted by a script that reads the clock.
    with redis.Redis(port=server.port) as plain:
        Clock(plain).to(0.0)
    with client_module.connect(server.url) as client:
        yield client


def begin(client) -> Clock:
    client.flushall()
    clock = Clock(client)
    clock.to(0.0)
    clock.restart()
    return clock


@dataclass
class Sending:
    """Chunks that wait for tokens as the queue lets them: nak, come back, ask again.

    Attributes:
        chunks: Recipients left in each.
        taken: When how many were taken.
        asks: How often the script was called.
    """

    client: object
    clock: Clock
    bucket: Bucket
    chunks: list[int]
    group: int
    late_s: float = 0.0
    call_s: float = 0.0
    seed: int = 0
    faults: list = field(default_factory=list)
    taken: list[tuple[float, int]] = field(default_factory=list)
    asks: int = 0

    def run(self) -> None:
        """Run until all are sent."""
        chance = random.Random(self.seed)  # noqa: S311 - a seed repeats it
        limiters = [Limiter(self.client) for _ in range(3)]
        due = [(self.clock.now_s, no) for no in range(len(self.chunks))]
        due += [(at_s, fault) for at_s, fault in self.faults]
        heapq.heapify(due := [(at_s, n, what) for n, (at_s, what) in enumerate(due)])
        order = count(len(due))
        while due:
            at_s, _, what = heapq.heappop(due)
            self.clock.to(at_s)
            if callable(what):
                what()
                continue
            if not self.chunks[what]:
                continue
            tokens = min(self.group, self.chunks[what])
            self.asks += 1
            wait_s = chance.choice(limiters).take([self.bucket], tokens)
            if wait_s:
                back_s = at_s + wait_s + chance.random() * self.late_s
            else:
                self.chunks[what] -= tokens
                self.taken.append((at_s, tokens))
                back_s = at_s + self.call_s
            heapq.heappush(due, (back_s, next(order), what))

    @property
    def seconds(self) -> float:
        return self.taken[-1][0] - self.taken[0][0]


def most_above(taken, limit) -> float:
    """Return by how much the worst of all windows exceeds rate x window + burst."""
    worst, floor, total = -1e9, 1e9, 0.0
    for at_s, tokens in taken:
        # Maximal over windows: what came since, less what the rate allowed since.
        floor = min(floor, total - limit.per_s * at_s)
        total += tokens
        worst = max(worst, total - limit.per_s * at_s - floor)
    return worst - limit.burst


RATES = st.sampled_from([1.0, 14.0, 50.0, 100.0, 5000.0])


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    per_s=RATES,
    chunks=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    late_s=st.floats(0, 0.5),
    restarts_s=st.lists(st.floats(0, 5), max_size=3),
    told=st.lists(st.tuples(st.floats(0, 5), st.floats(0.5, 200)), max_size=3),
    seed=st.integers(0, 1000),
)
def test_no_window_sees_more_than_the_rate_and_the_burst(
    *, clock_client, per_s, chunks, late_s, restarts_s, told, seed
):
    """Whatever restarts, comes late, or is lowered meanwhile; and all is sent."""
    clock = begin(clock_client)
    clock.to(100.0)
    limit = Limit.of(per_s)
    bucket = Bucket("config", limit)
    heed = Limiter(clock_client).heed
    faults = [(100 + at_s, clock.restart) for at_s in restarts_s]
    for at_s, word_s in told:
        word = Told(word_s, for_s=2.0)
        faults.append((100 + at_s, partial(heed, bucket, word)))
    sending = Sending(
        clock_client, clock, bucket, list(chunks), limit.most_at_once,
        late_s=late_s, seed=seed, faults=faults,
    )  # fmt: skip

    sending.run()

    assert sum(tokens for _, tokens in sending.taken) == sum(chunks)
    # A group that was cut before the provider lowered the burst is one take above it.
    above = limit.most_at_once if told else 0.0
    assert most_above(sending.taken, limit) <= above + _DIGITS


def test_five_hundred_at_fourteen_a_second_take_36_seconds(clock_client):
    """35.7 s, to within 2 %, by the grid that a config of SES has."""
    clock = begin(clock_client)
    clock.to(100.0)
    limit = Limit.of(14.0)
    chunks = [69] * 7 + [17]
    sending = Sending(
        clock_client, clock, Bucket("ses", limit), chunks, limit.most_at_once,
        late_s=0.05, call_s=0.08,
    )  # fmt: skip

    sending.run()

    assert sending.seconds == pytest.approx(500 / 14, rel=0.02)
    assert most_above(sending.taken, limit) <= _DIGITS
    # Turns: nobody comes back again and again for tokens of another.
    assert sending.asks < 3 * len(sending.taken)


@pytest.mark.parametrize(("per_s", "group"), [(14.0, 3), (5000.0, 500), (50.0, 12)])
def test_the_rate_is_used(clock_client, per_s, group):
    """98 % and more, by forty chunks that come back up to 50 ms late."""
    clock = begin(clock_client)
    chunks = [int(per_s * 60 / 40)] * 40
    bucket = Bucket("config", Limit.of(per_s))
    sending = Sending(
        clock_client, clock, bucket, chunks, group, late_s=0.05, call_s=0.02
    )

    sending.run()

    used = sum(tokens for _, tokens in sending.taken[1:]) / sending.seconds
    assert used >= 0.98 * per_s
    assert most_above(sending.taken, bucket.limit) <= _DIGITS


def test_a_rate_that_a_provider_told_ends(clock_client):
    """Lowered at once for every process, and recovered when it is not told again."""
    clock = begin(clock_client)
    bucket = Bucket("config", Limit(10.0, 5.0))
    Limiter(clock_client).heed(bucket, Told(1.0, for_s=30.0))
    other = Limiter(clock_client)
    clock.to(20.0)

    assert other.take([bucket], 1) == 0.0
    lowered = other.ask([bucket], 1)
    clock.to(31.0)
    recovered = other.take([bucket], 5), other.ask([bucket], 5)

    assert (lowered.per_s, lowered.wait_s) == (1.0, pytest.approx(1.0))
    assert recovered[0] == 0.0
    assert (recovered[1].per_s, recovered[1].wait_s) == (10.0, pytest.approx(0.5))


def test_a_pause_lets_nothing_through_and_then_goes_on(clock_client):
    """A second one that ends at the same time adds nothing."""
    clock = begin(clock_client)
    clock.to(60.0)
    bucket = Bucket("config", Limit(10.0, 5.0))
    limiter = Limiter(clock_client)
    limiter.heed(bucket, Told(pause_s=3.0))
    clock.to(61.0)
    limiter.heed(bucket, Told(pause_s=2.0))

    clock.to(62.9)
    assert limiter.take([bucket], 1) > 0
    clock.to(63.11)
    assert limiter.take([bucket], 1) == 0.0


def test_a_guess_is_raised_by_what_the_provider_tells(clock_client):
    """Where the ceiling is higher than the rate; never above the ceiling."""
    clock = begin(clock_client)
    guessed = Bucket("requests", Limit.of(2.0), "requests", ceiling_per_s=50.0)
    limiter = Limiter(clock_client)
    clock.to(60.0)
    limiter.heed(guessed, Told(1000.0, for_s=60.0))
    clock.to(70.0)

    assert limiter.ask([guessed], 0, requests=25) is None
    shortage = Limiter(clock_client).ask([guessed], 0, requests=1)

    assert shortage.per_s == 50.0


def test_a_call_larger_than_the_burst_leaves_a_debt(clock_client):
    """It was declared before the limit was lowered, and cannot be cut any more."""
    clock = begin(clock_client)
    clock.to(60.0)
    bucket = Bucket("config", Limit(10.0, 5.0))
    limiter = Limiter(clock_client)

    assert limiter.take([bucket], 100) == 0.0
    assert limiter.ask([bucket], 1).wait_s == pytest.approx(9.6)


def test_a_level_counts_what_it_counts(clock_client):
    """Recipients for one bucket, calls for the other, in one script call."""
    clock = begin(clock_client)
    clock.to(60.0)
    messages = Bucket("config", Limit(100.0, 100.0))
    calls = Bucket("requests", Limit(2.0, 1.0), "requests")
    limiter = Limiter(clock_client)

    assert limiter.ask([messages, calls], 50, requests=1) is None
    shortage = limiter.ask([messages, calls], 50, requests=1)

    assert shortage.bucket == calls
    assert shortage.wait_s == pytest.approx(0.5)
