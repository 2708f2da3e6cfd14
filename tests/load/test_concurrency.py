"""One recipient a call: as fast as concurrency and limit allow, and no faster."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import requests

from benchmarks.house import House
from benchmarks.run import follow
from benchmarks.singles import rate_per_s
from models.limit import Limit

pytestmark = [pytest.mark.load, pytest.mark.timeout(240)]


@pytest.fixture
def sent_at(tmp_path, monkeypatch):
    """Send a batch by one worker process; return when the sink got each call."""

    def run(
        recipients: int, *, latency_ms: int, at_once: int, limit: Limit | None = None
    ) -> list[float]:
        monkeypatch.setenv("WORKER_PROCESSES", "1")
        monkeypatch.setenv("MAX_CONCURRENT_EMAILS", str(at_once))
        with opened(tmp_path / "data", limit, latency_ms) as house:
            batch_id = house.fill(recipients)
            house.queue(batch_id)
            follow(house, batch_id, lambda _: None)
            assert house.batch(batch_id)["sent"] == recipients
            calls = house.read_sink().calls
        assert len(calls) == recipients
        return sorted(call.t for call in calls)

    return run


@contextmanager
def opened(folder, limit, latency_ms) -> Iterator[House]:
    options = {"limit": limit} if limit else {}
    with House(folder, chunk=500, one_by_one=True, **options) as house:
        slow = {"latencyMs": latency_ms}
        requests.post(f"{house.sink_url}control", json=slow, timeout=5)
        house.start_senders()
        yield house


def most_at_once(times: Sequence[float], latency_ms: int) -> int:
    """Return the most calls that were under way together, from when each began.

    A call takes a little longer than the sink lets it wait: all that are counted were
    under way when the last of them began.
    """
    latency_s = latency_ms / 1000
    return max(
        at + 1 - bisect_right(times, began - latency_s)
        for at, began in enumerate(times)
    )


@pytest.mark.parametrize(("latency_ms", "at_once"), [(50, 20), (200, 25)])
def test_slow_calls_go_out_side_by_side(sent_at, latency_ms, at_once):
    """At least 90 % of what MAX_CONCURRENT_EMAILS allows, and never more at once."""
    allowed_per_s = at_once * 1000 / latency_ms

    times = sent_at(1500, latency_ms=latency_ms, at_once=at_once)

    assert most_at_once(times, latency_ms) <= at_once
    assert rate_per_s(times) >= 0.9 * allowed_per_s


def test_a_configs_limit_is_used_up_where_concurrency_allows_more(sent_at):
    """125 a second at 200 ms need 25 calls at once, of the 100 that are allowed."""
    times = sent_at(2500, latency_ms=200, at_once=100, limit=Limit(125.0, 125.0))

    assert rate_per_s(times) == pytest.approx(125, rel=0.03)
