"""One breaker for all workers; each on its own while Dragonfly is away."""

import pytest

from hot_state.breaker import Breakers
from hot_state.client import connect
from models.breaker import BreakerRule, Calls
from models.errors import NeighbourUnavailableError

RULE = BreakerRule(failures=3, wait_s=60.0)
FAILED, ANSWERED = Calls(1, 1), Calls(1, 0)


@pytest.fixture
def workers(server, client):
    """Two processes that share a breaker."""
    return [Breakers(connect(server.url), RULE) for _ in range(2)]


def fail(breakers: Breakers, scope: str = "config:1", *, times: int = 1) -> list[str]:
    """Report groups that had passed before the provider failed."""
    passages = [breakers.passage(scope) for _ in range(times)]
    return [breakers.report(scope, passage, FAILED) for passage in passages]


def test_what_one_worker_meets_holds_back_the_others(workers):
    """It opens once; another config's breaker stays closed."""
    one, other = workers

    changes = fail(one, times=3)

    assert changes == ["", "", "opened"]
    assert other.passage("config:1").wait_s == pytest.approx(60.0, abs=5)
    assert other.passage("config:2").wait_s == 0.0
    assert other.of_config("1").state == "open"


def test_one_probe_at_a_time_goes_out_among_all(workers):
    """Its answer lets everybody go on."""
    one, other = workers
    fail(one)

    probe = one.passage("config:1")
    waits = other.passage("config:1")
    assert one.report("config:1", probe, ANSWERED) == ""

    assert (probe.is_probe, waits.wait_s) == (True, RULE.turn_s)
    assert other.passage("config:1").wait_s == 0.0
    assert one.of_config("1").state == "closed"


def test_reports_at_the_same_moment_are_all_counted(workers):
    """Each is the same step from where the last left off."""
    one, other = workers
    before = other.passage("config:1")
    fail(one, times=2)

    assert other.report("config:1", before, FAILED) == "opened"


def test_answered_calls_count_against_the_rate(server, client):
    """They are told with the next failure: 19 answers, then 19 failures of 38."""
    breakers = Breakers(connect(server.url), BreakerRule(failures=100))
    for _ in range(19):
        breakers.report("config:1", breakers.passage("config:1"), ANSWERED)

    changes = fail(breakers, times=19)

    assert changes == [""] * 18 + ["opened"]


def test_without_dragonfly_each_goes_by_what_it_sees(mortal):
    """And asks again when it is back, which knows nothing of it."""
    breakers = Breakers(connect(mortal.url), RULE)
    mortal.kill()

    changes = fail(breakers, times=3)

    assert changes[-1] == "opened"
    assert breakers.passage("config:1").wait_s > 0
    with pytest.raises(NeighbourUnavailableError):
        breakers.of_config("1")
    mortal.start()
    assert breakers.of_config("1").state == "closed"
