"""No window ever sees more than `rate * w + burst`, and little less."""

import math
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hot_state import keys
from hot_state.client import connect
from hot_state.limiter import Limiter
from models.limit import Bucket, Limit

#: Takes are seen by our clock a little before or after the server's; 3 ms covers it.
_SEEN_LATE_S = 0.003


def fields(client, scope) -> list[bytes]:
    """Return a bucket's `run tokens at turn told until`."""
    return client.get(f"bucket:{scope}").split()


def tokens_in(client, scope) -> float:
    return float(fields(client, scope)[1])


def fill(client, scope, tokens, *, at_us=None) -> None:
    """Put tokens into a bucket behind everybody's back."""
    run_id = client.get(keys.LIFETIME).split()[0]
    at_us = at_us or time.time_ns() // 1000
    client.set(f"bucket:{scope}", b"%b %.17g %d 0 0 0" % (run_id, tokens, at_us))


def run(limiters, buckets, tokens, *, until) -> list[tuple[float, float]]:
    """Take as fast as allowed, a thread each; return when each take happened.

    A take lies between the two times; it is seen as (not before, not after).
    """
    taken: list[tuple[float, float]] = []

    def take_often(limiter) -> None:
        while time.monotonic() < until:
            asked = time.monotonic()
            wait_s = limiter.take(buckets, tokens)
            if wait_s:
                left = until - time.monotonic()
                threading.Event().wait(max(0.0, min(wait_s, left)))
            else:
                taken.append((asked, time.monotonic()))

    threads = [threading.Thread(target=take_often, args=(one,)) for one in limiters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(taken)


def most_above(taken, tokens, limit) -> float:
    """Return by how many tokens the worst of all windows exceeds what is allowed.

    Each take is given the benefit of the doubt: a window is as long as it can be.
    """
    worst = -math.inf
    for i, (start, _) in enumerate(taken):
        for j in range(i, len(taken)):
            window = taken[j][1] - start + _SEEN_LATE_S
            allowed = limit.per_s * window + limit.burst
            worst = max(worst, (j - i + 1) * tokens - allowed)
    return worst


@pytest.mark.parametrize("tokens", [1, 14])
def test_the_rate_is_kept_and_used(server, client, tokens):
    """Four threads of two processes get what one would, to within 2 %."""
    limit = Limit(140.0, 70.0)
    buckets = [Bucket("system", Limit.of(1e6)), Bucket(f"config:{tokens}", limit)]
    limiters = [Limiter(client), Limiter(connect(server.url))] * 2
    for limiter in limiters:
        limiter.take(buckets, tokens)
    start = time.monotonic()

    taken = run(limiters, buckets, tokens, until=start + 2.5)

    assert most_above(taken, tokens, limit) <= 0
    used = len(taken) * tokens / (limit.per_s * 2.5)
    # With tokens of 14 the last part of a second may not make a whole call.
    assert used >= 0.98 - (tokens - 1) / (limit.per_s * 2.5)


@pytest.mark.parametrize("restarts", [0, 2])
@pytest.mark.parametrize(("per_s", "tokens"), [(14.0, 3), (5000.0, 500)])
def test_processes_keep_the_rate_and_use_it(mortal, per_s, tokens, restarts):
    """Four of them, through restarts of the server; undisturbed they use 98 %."""
    limit = Limit.of(per_s)
    until = time.monotonic() + 8.0
    arguments = [mortal.url, *map(str, (per_s, limit.burst, tokens, until))]
    command = [sys.executable, "-m", "tests.integration.hot_state.take_often"]
    root = Path(__file__).parents[3]
    workers = [
        subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, text=True, cwd=root
        )
        for _ in range(4)
    ]

    for _ in range(restarts):
        threading.Event().wait(2.0)
        mortal.kill()
        mortal.start()
    told = [worker.communicate(timeout=60)[0] for worker in workers]

    lines = [line.split() for out in told for line in out.splitlines()]
    taken = sorted((float(asked), float(had)) for asked, had in lines)
    assert most_above(taken, tokens, limit) <= 0
    # What was saved up before the first take is not the rate's doing.
    used = (len(taken) - 1) * tokens / (taken[-1][1] - taken[0][1])
    assert used >= (0.98 if restarts == 0 else 0.5) * per_s


def test_a_restart_begins_with_empty_buckets(mortal):
    """What the server has written to disk may be older than the last takes."""
    limit = Limit.of(200.0)
    bucket = Bucket("config", limit)
    limiter = Limiter(connect(mortal.url))
    limiter.take([bucket], 1)
    end = time.monotonic() + 2.4
    restart = threading.Timer(1.2, lambda: (mortal.kill(), mortal.start()))
    restart.start()

    taken = run([limiter] * 3, [bucket], 10, until=end)

    restart.join()
    assert most_above(taken, 10, limit) <= 0
    assert not limiter._away
    assert taken[-1][1] > end - 0.4


def test_a_bucket_of_another_run_counts_as_empty(mortal, admin):
    """Restored data would else be spent a second time."""
    bucket = Bucket("config", Limit(0.001, 1000.0))
    limiter = Limiter(connect(mortal.url))
    limiter.take([bucket], 1)
    with admin(mortal) as client:
        fill(client, "config", 1000)
    assert limiter.take([bucket], 1) == 0.0

    mortal.kill()
    mortal.start()

    with admin(mortal) as client:
        assert tokens_in(client, "config") == pytest.approx(999.0, abs=0.1)
    assert limiter.take([bucket], 1) == pytest.approx(1000, rel=0.01)


def test_a_wiped_server_begins_with_empty_buckets(client):
    """A flush must not hand out a burst that was just used."""
    bucket = Bucket("config", Limit(0.01, 5.0))
    limiter = Limiter(client)
    client.flushall()

    assert limiter.take([bucket], 1) == pytest.approx(100, rel=0.01)


def test_a_bucket_never_used_has_filled_since_the_server_is_known(client):
    """In a known lifetime a missing bucket was idle, so it need not begin empty."""
    client.flushall()
    limiter = Limiter(client)
    limiter.take([Bucket("other", Limit.of(1.0))], 1)
    run_id, since_us = client.get(keys.LIFETIME).split()
    client.set(keys.LIFETIME, b"%s %d" % (run_id, int(since_us) - 3_000_000))

    bucket = Bucket("config", Limit(1.0, 10.0))
    assert limiter.take([bucket], 3) == 0.0
    assert limiter.take([bucket], 1) > 0


def test_a_clock_put_back_earns_nothing(client):
    """Nobody can tell what was earned; waiting for the old time would stop all."""
    bucket = Bucket("config", Limit(1000.0, 1000.0))
    limiter = Limiter(client)
    limiter.take([bucket], 1)
    hour_ahead = (time.time_ns() // 1000) + 3_600_000_000
    fill(client, "config", 1000, at_us=hour_ahead)

    assert 0 < limiter.take([bucket], 100) < 0.2


def test_all_buckets_or_none(client):
    """No level pays for what another refuses."""
    limiter = Limiter(client)
    rich, poor = Bucket("rich", Limit(1e6, 100.0)), Bucket("poor", Limit(0.01, 5.0))
    limiter.take([rich, poor], 1)
    deadline = time.monotonic() + 5
    while limiter.take([rich], 100):
        assert time.monotonic() < deadline

    assert limiter.take([rich, poor], 3) == pytest.approx(300, rel=0.02)
    fill(client, "poor", 5)
    assert limiter.take([rich, poor], 3) == 0.0
    assert tokens_in(client, "poor") == pytest.approx(2, abs=0.1)


def test_what_was_not_used_comes_back_up_to_the_burst(client):
    """Giving back more than was taken never makes a bucket overflow."""
    bucket = Bucket("config", Limit(0.01, 5.0))
    limiter = Limiter(client)
    limiter.take([bucket], 1)

    limiter.give_back([bucket], 4)
    assert limiter.take([bucket], 4) == 0.0
    limiter.give_back([bucket], 4000)

    assert limiter.take([bucket], 5) == 0.0
    assert limiter.take([bucket], 1) > 0


def test_a_region_uses_its_share(client):
    """Half the share waits twice as long."""
    bucket = Bucket("config", Limit(1.0, 5.0))

    assert Limiter(client, share=0.5).take([bucket], 1) == pytest.approx(2, rel=0.05)


def test_what_can_never_be_taken_is_refused(client):
    """Waiting would not help; the caller has made a mistake."""
    limiter = Limiter(client)

    with pytest.raises(ValueError, match="hold it"):
        limiter.take([Bucket("config", Limit(0.0, 14.0))], 1)


def test_nothing_is_asked_for_where_nothing_limits(mortal):
    """No bucket, or no tokens: no round trip either."""
    limiter = Limiter(connect(mortal.url))
    mortal.kill()

    assert limiter.take([], 1) == 0.0
    assert limiter.take([Bucket("config", Limit.of(1.0))], 0) == 0.0
    limiter.give_back([], 1)
    assert not limiter._away


@pytest.mark.parametrize("per_s", [3e6, 1e9])
def test_high_rates_are_exact(client, per_s):
    """Microseconds and fractions of tokens lose nothing."""
    bucket = Bucket(f"system:{per_s}", Limit.of(per_s))
    limiter = Limiter(client)
    limiter.take([bucket], 1)
    before = fields(client, bucket.scope)[1:3]

    count = 0
    while count < 50:
        count += limiter.take([bucket], per_s / 10_000) == 0.0

    after = fields(client, bucket.scope)[1:3]
    earned = (int(after[1]) - int(before[1])) * per_s / 1e6
    spent = count * per_s / 10_000
    change = float(after[0]) - float(before[0])
    assert change == pytest.approx(earned - spent, rel=1e-6, abs=1e-3)


def test_every_bucket_expires_once_it_would_be_full(client):
    """Scopes come and go with tenants and configs."""
    limiter = Limiter(client)
    limiter.take([Bucket("config", Limit(2.0, 100.0))], 1)

    assert 50 <= client.ttl("bucket:config") <= 50 + keys.BUCKET_MARGIN_S + 1
    assert client.ttl(keys.LIFETIME) > 0


@pytest.mark.parametrize("trouble", ["kill", "freeze"])
def test_without_the_server_half_the_rate_is_shared(mortal, trouble):
    """Two processes together stay below half the rate, and do not stand still."""
    limit = Limit.of(400.0)
    bucket = Bucket("config", limit)
    limiters = [Limiter(connect(mortal.url, timeout_s=0.1), processes=2)] * 2
    getattr(mortal, trouble)()
    start = time.monotonic()

    taken = run(limiters, [bucket], 5, until=start + 1.5)

    assert most_above(taken, 5, Limit(100.0, 50.0)) <= 0
    assert len(taken) * 5 >= 0.6 * 100 * 1.5
    if trouble == "freeze":
        mortal.thaw()


def test_tokens_come_back_while_the_server_is_away(mortal, wait_until):
    """They were this process's own, and are again."""
    bucket = Bucket("config", Limit(20.0, 20.0))
    limiter = Limiter(connect(mortal.url))
    limiter.take([bucket], 1)
    mortal.kill()
    wait_until(lambda: limiter.take([bucket], 5) == 0.0)

    limiter.give_back([bucket], 5)
    limiter._away = False
    limiter.give_back([bucket], 0.001)

    assert limiter._away
    assert limiter.take([bucket], 5) == 0.0


def test_what_was_let_through_meanwhile_is_charged(client, wait_until):
    """A full bucket on top of it would be more than the burst."""
    bucket = Bucket("config", Limit(20.0, 20.0))
    limiter = Limiter(client)
    limiter._leave()
    limiter._ask_at = math.inf
    wait_until(lambda: limiter.take([bucket], 10) == 0.0)
    fill(client, "config", 20)

    limiter._ask_at = 0.0
    assert limiter.take([bucket], 0.001) == 0.0

    assert not limiter._away
    assert limiter.take([bucket], 20) > 0.1
