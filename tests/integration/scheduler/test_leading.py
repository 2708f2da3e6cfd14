"""Who leads does the duties, whatever becomes of one of them."""

import time

import pytest

from hot_state.lock import Lease
from models.errors import NeighbourUnavailableError
from scheduler.__main__ import duties
from scheduler.leader import Leader
from scheduler.timetable import Duty, Round, timetable
from settings import Settings


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "It never came to be."
        time.sleep(0.005)


@pytest.fixture
def run():
    """Run duties as one scheduler; all end with the test."""
    plans = []

    def started(leader, *todo):
        plan = timetable(leader, list(todo))
        plans.append(plan)
        plan.start()

    yield started
    for plan in plans:
        plan.shutdown(wait=True)


def test_one_of_two_leads_until_it_resigns(hot_state):
    """The other follows at once, not after the lease."""
    one, two = (Leader(Lease(hot_state, "leader", ttl_s=60)) for _ in range(2))

    assert (one.leads(), two.leads(), one.leads()) == (True, False, True)
    one.resign()

    assert two.leads()


def test_without_dragonfly_everybody_leads(away):
    """Each duty is a compare-and-set: the work is done twice at most."""
    leader = Leader(Lease(away, "leader", ttl_s=60))

    assert leader.leads()
    leader.resign()


@pytest.mark.parametrize("error", [ValueError, NeighbourUnavailableError])
def test_a_duty_that_fails_is_done_again_and_stops_no_other(run, hot_state, error):
    """Its next round tries again."""
    done = []

    def fail():
        done.append("failed")
        raise error("It fails.")

    leader = Leader(Lease(hot_state, "leader", ttl_s=60))
    run(
        leader,
        Duty("fails", 0.02, fail),
        Duty("works", 0.02, lambda: done.append("worked")),
    )

    until(lambda: done.count("failed") > 2 and done.count("worked") > 2)


def test_who_follows_does_nothing(run, hot_state):
    """Until the leader is gone."""
    done = []
    leader = Leader(Lease(hot_state, "leader", ttl_s=60))
    leader.leads()
    asked = Lease(hot_state, "leader", ttl_s=60)
    follower = Leader(asked)
    asks = []
    follows = follower.leads
    follower.leads = lambda: asks.append(follows()) or asks[-1]
    run(follower, Duty("note", 0.02, lambda: done.append(1)))
    until(lambda: len(asks) > 2)
    assert done == []

    leader.resign()

    until(lambda: done)


@pytest.mark.parametrize("syncs", [True, False])
def test_the_duties_connect_to_nothing_before_they_are_done(outcomes, syncs):
    """A scheduler starts while its neighbours are away; sync can be left out."""
    nowhere = "http://127.0.0.1:9/none"
    settings = Settings(
        database_url="postgresql://127.0.0.1:9/none",
        nats_url="nats://127.0.0.1:9",
        dragonfly_url="redis://127.0.0.1:9",
        clickhouse_url=nowhere,
        postgres_sync_enabled=syncs,
    )

    names = {duty.name for duty in duties(settings, outcomes)}

    assert {"discovery", "recovery"} <= names
    assert ("sync" in names) == syncs


def test_a_round_wakes_another_duty_which_asks_for_more(run, hot_state):
    """Long intervals cost a busy batch nothing."""
    done = []

    def slow():
        done.append("slow")
        return Round(again=True)

    run(
        Leader(Lease(hot_state, "leader", ttl_s=60)),
        Duty("quick", 0.02, lambda: Round(wakes=("slow",)) if not done else None),
        Duty("slow", 3600, slow),
    )

    until(lambda: len(done) >= 3)
