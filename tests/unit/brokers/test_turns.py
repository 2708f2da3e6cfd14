"""Turns follow weights, and nobody saves them up."""

from collections import Counter

import pytest

from brokers import Route, TenantShare
from brokers.caps import Caps
from brokers.delivery import Delivery
from brokers.turns import Turns


def key(tenant):
    return ("stream", tenant)


def served(turns, weights, *, room, rounds):
    """Return who got how many when each always has more."""
    got = Counter()
    for tenant, weight in weights.items():
        turns.add(key(tenant), weight)
    for _ in range(rounds):
        left = room
        while left and (turn := turns.take(left, 0.0)):
            (_, tenant), part = turn
            assert 1 <= part <= left
            got[tenant] += part
            left -= part
        for tenant, weight in weights.items():
            turns.add(key(tenant), weight)
    return got


@pytest.mark.parametrize("room", [1, 3, 16, 200])
def test_all_get_in_proportion_to_their_weights(room):
    """Whatever the room that there is at a time."""
    got = served(Turns(), {"a": 1, "b": 2, "c": 5}, room=room, rounds=400)

    unit = got.total() / 8
    assert got["a"] == pytest.approx(unit, rel=0.05)
    assert got["c"] == pytest.approx(5 * unit, rel=0.05)


def test_the_newcomer_is_next_but_has_saved_nothing():
    turns = Turns()
    served(turns, {"old": 1}, room=10, rounds=50)

    turns.add(key("new"), 1)

    got = served(turns, {"old": 1, "new": 1}, room=1, rounds=40)
    assert abs(got["new"] - got["old"]) <= 12


def test_who_is_being_asked_is_not_passed_by_for_ever():
    """The others may come a little ahead, then they wait for it, for a moment."""
    turns = Turns()
    turns.add(key("slow"), 1)
    turns.take(1, 0.0)
    turns.asked(key("slow"), 0.0)
    turns.add(key("quick"), 1)
    ahead = 0
    while turns.take(1, 0.01):
        turns.add(key("quick"), 1)
        ahead += 1
        assert ahead < 10

    assert turns.take(1, 1.0)
    turns.answered(key("slow"), 0.0)
    turns.add(key("quick"), 1)
    turns.add(key("slow"), 1)
    assert [turns.take(1, 1.0)[0] for _ in "ab"] == [key("slow"), key("quick")]


def test_what_was_not_had_costs_nothing():
    turns = Turns()
    for _ in range(50):
        turns.add(key("empty"), 1)
        _, part = turns.take(10, 0.0)
        turns.give_back(key("empty"), part)

    got = served(turns, {"empty": 1, "other": 1}, room=1, rounds=20)
    assert got["empty"] == got["other"]


def test_a_place_in_the_ring_is_had_once():
    turns = Turns()

    turns.add(key("a"), 1)
    turns.add(key("a"), 1)

    assert len(turns) == 1


def test_a_long_life_leaves_no_trace_of_who_is_gone():
    turns = Turns()
    served(turns, {f"t{n}": 1 for n in range(100)}, room=10, rounds=30)
    while turns.take(1, 0.0):
        pass

    turns.tidy()

    assert not turns._come


def test_whoever_stood_at_the_cap_is_told_when_one_is_settled():
    caps = Caps()
    delivery = Delivery("q", "$JS.ACK.s.c.1.1.1.1.5", None)
    caps.took(key("a"), delivery)
    assert (caps.room(key("a"), 2), caps.room(key("a"), 1)) == (1, 0)
    assert list(caps.freed()) == []

    delivery.settled = True

    assert list(caps.freed()) == [key("a")]
    assert list(caps.freed()) == []
    assert caps.room(key("a"), 1) == 1


@pytest.mark.parametrize("weight", [0, -1, 1.5, "2", None, True])
def test_a_weight_is_a_number_that_counts(weight):
    with pytest.raises(ValueError, match="weight is a whole number"):
        TenantShare(weight=weight)


@pytest.mark.parametrize("cap", [0, -1, 1.5, "2", True])
def test_a_cap_is_a_number_that_counts(cap):
    with pytest.raises(ValueError, match="cap is a whole number"):
        TenantShare(cap=cap)


def test_only_tenants_are_spread():
    with pytest.raises(ValueError, match="shard"):
        Route("q", "s", "s.{tenant}", shards=0)
    with pytest.raises(ValueError, match="neither shards nor a policy"):
        Route("q", "s", "s.x", shards=2)
    with pytest.raises(ValueError, match="neither shards nor a policy"):
        Route("q", "s", "s.x", tenants=lambda tenant: TenantShare())
