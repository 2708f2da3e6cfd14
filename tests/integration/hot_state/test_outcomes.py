"""Bitmaps and records tell what was recorded, and nothing about neighbours."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hot_state import keys
from models.bits import everyone
from models.errors import NeighbourUnavailableError
from models.outcome import Outcome

STATUSES = [status.value for status in keys.RANKED]
NOBODY = dict.fromkeys(STATUSES, 0)


def held(client, batch_id, status) -> int:
    """Return a whole bitmap as a set of seqs."""
    text = client.get(keys.bitmap(batch_id, status)) or b""
    return int(f"{int.from_bytes(text, 'big'):0{8 * len(text) or 1}b}"[::-1], 2)


@pytest.mark.parametrize("size", [1, 7, 31, 32, 33, 500])
@pytest.mark.parametrize("first", [0, 5, 1013])
def test_a_chunk_is_drawn_exactly_where_it_stands(outcomes, client, size, first):
    """No bit beside the range changes, wherever it begins and ends."""
    neighbours = Outcome(failed=1)
    outcomes.record("b", 9, 1, first + size, 1, neighbours)
    if first:
        outcomes.record("b", 8, 1, first - 1, 1, neighbours)

    outcomes.record("b", 1, 1, first, size, Outcome(sent=everyone(size)))

    assert held(client, "b", "sent") == everyone(size) << first
    around = 1 << first + size | (1 << first >> 1 if first else 0)
    assert held(client, "b", "failed") == around
    assert outcomes.all_final("b", first, size)
    assert not outcomes.all_final("b", first, size + 2)


_SETS = st.tuples(*[st.integers(0, 2**45 - 1)] * 4)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.integers(0, 40), _SETS), max_size=6))
def test_bitmaps_agree_with_plain_sets(outcomes, client, groups):
    """Any order of overlapping records leaves everybody in the highest rank."""
    client.flushall()
    expected = dict(NOBODY)

    for first, (sent, failed, suppressed, unknown) in groups:
        outcome = Outcome(sent, failed, unknown, suppressed)
        outcomes.record("b", 0, 1, first, 45, outcome)
        for status in STATUSES:
            expected[status] |= getattr(outcome, status, 0) << first

    taken = 0
    for status in STATUSES:
        expected[status] &= ~taken
        taken |= expected[status]
    assert {status: held(client, "b", status) for status in STATUSES} == expected
    assert outcomes.counts("b") == {
        status: members.bit_count() for status, members in expected.items()
    }
    for first, size in [(0, 85), (3, 9), (40, 33), (17, 1)]:
        final = taken >> first & everyone(size) == everyone(size)
        assert outcomes.all_final("b", first, size) == final


def test_groups_of_a_chunk_add_up_and_repeats_change_nothing(outcomes):
    """A chunk records each group as it is answered, some twice after a lost reply."""
    one = Outcome(sent=0b01, provider_ids={0: "a"})
    two = Outcome(failed=0b10, errors={1: "refused"})

    for outcome in (one, two, one, two):
        outcomes.record("b", 3, 7, 0, 2, outcome)

    assert outcomes.find("b", 3, 7) == Outcome(
        sent=0b01, failed=0b10, provider_ids={0: "a"}, errors={1: "refused"}
    )
    assert outcomes.counts("b") == NOBODY | {"sent": 1, "failed": 1}


def test_another_token_has_a_record_of_its_own(outcomes):
    """Sync must see whose answer it was."""
    outcomes.record("b", 3, 7, 0, 2, Outcome(unknown=0b11))
    outcomes.record("b", 3, 8, 0, 2, Outcome(sent=0b01))

    assert outcomes.find("b", 3, 7) == Outcome(unknown=0b11)
    assert outcomes.find("b", 3, 8) == Outcome(sent=0b01)
    assert outcomes.find("b", 3, 9) is None
    assert sorted(outcomes.waiting("b")) == [(3, 7), (3, 8)]
    assert outcomes.counts("b") == NOBODY | {"sent": 1, "unknown": 1}


def test_records_are_forgotten_by_name(outcomes):
    """A record made after sync has read stays, and so does its batch."""
    outcomes.record("b", 0, 1, 0, 1, Outcome(sent=1))
    outcomes.record("b", 1, 1, 1, 1, Outcome(sent=1))

    outcomes.forget("b", [(0, 1)])
    assert outcomes.waiting("b") == [(1, 1)]
    assert outcomes.batches_waiting() == ["b"]

    outcomes.forget("b", [(1, 1), (5, 5)])
    assert outcomes.waiting("b") == []
    assert outcomes.batches_waiting() == []


def test_a_batch_whose_time_is_over_waits_no_longer(outcomes, client):
    """A list that only grows would make every sync slower."""
    outcomes.record("b", 0, 1, 0, 1, Outcome(sent=1))

    client.zadd(keys.WAITING, {"old": 1})

    assert outcomes.batches_waiting() == ["b"]


def test_redrawing_changes_these_ranges_and_no_other(outcomes, client):
    """The ledger's word replaces whatever was there, down to the bit."""
    outcomes.record("b", 0, 1, 0, 120, Outcome(unknown=everyone(120)))

    outcomes.redraw(
        "b",
        [
            (3, 33, {"sent": 1 << 32, "cancelled": 0b1}),
            (70, 40, {"failed": everyone(40)}),
        ],
    )

    assert held(client, "b", "sent") == 1 << 35
    assert held(client, "b", "cancelled") == 1 << 3
    assert held(client, "b", "failed") == everyone(40) << 70
    left = everyone(120) & ~(everyone(33) << 3) & ~(everyone(40) << 70)
    assert held(client, "b", "unknown") == left


def test_redrawing_refuses_a_recipient_with_two_outcomes(outcomes):
    """Nobody is in two bitmaps, else counting who is final would lie."""
    with pytest.raises(ValueError, match="one outcome"):
        outcomes.redraw("b", [(0, 8, {"sent": 0b11, "failed": 0b10})])


def test_many_ranges_are_redrawn_in_one_call(outcomes):
    """A batch has thousands of chunks; they go out in transactions of some."""
    drawings = [(no * 7, 7, {"sent": everyone(7)}) for no in range(100)]

    outcomes.redraw("b", drawings)

    assert outcomes.counts_of(["b", "none"]) == {
        "b": NOBODY | {"sent": 700},
        "none": NOBODY,
    }


def test_every_key_of_a_batch_expires_and_can_be_dropped(outcomes, client):
    """What nobody deletes must not stay for ever."""
    outcomes.record("b", 0, 1, 0, 4, Outcome(1, 2, 4, 8))
    outcomes.redraw("b", [(4, 1, {"cancelled": 1})])
    names = client.keys("*{b}*")
    assert len(names) == 6
    assert all(client.ttl(name) > 0 for name in client.keys("*"))

    outcomes.drop("b")

    assert client.keys("*{b}*") == []
    assert outcomes.batches_waiting() == []


def test_a_server_that_came_back_empty_knows_nothing(mortal, connected):
    """It answers *no* and *none*, never with an error: the ledger decides."""
    outcomes = connected(mortal)
    outcomes.record("b", 0, 1, 0, 1, Outcome(sent=1))

    mortal.kill()
    mortal.wipe()
    mortal.start()

    assert outcomes.counts("b") == NOBODY
    assert not outcomes.all_final("b", 0, 1)
    assert outcomes.find("b", 0, 1) is None
    outcomes.record("b", 0, 1, 0, 1, Outcome(sent=1))
    assert outcomes.all_final("b", 0, 1)


CALLS = {
    "record": lambda o: o.record("b", 0, 1, 0, 1, Outcome(sent=1)),
    "find": lambda o: o.find("b", 0, 1),
    "waiting": lambda o: o.waiting("b"),
    "batches_waiting": lambda o: o.batches_waiting(),
    "forget": lambda o: o.forget("b", [(0, 1)]),
    "counts": lambda o: o.counts("b"),
    "counts_of": lambda o: o.counts_of(["b"]),
    "all_final": lambda o: o.all_final("b", 0, 1),
    "redraw": lambda o: o.redraw("b", [(0, 1, {"sent": 1})]),
    "drop": lambda o: o.drop("b"),
}


def test_a_server_that_is_away_is_one_error(mortal, connected):
    """Whatever is asked, the caller learns that Dragonfly does not answer."""
    outcomes = connected(mortal)
    outcomes.record("b", 0, 1, 0, 1, Outcome(sent=1))
    mortal.kill()

    for call in CALLS.values():
        with pytest.raises(NeighbourUnavailableError):
            call(outcomes)


def test_a_server_that_cannot_write_is_away(mortal, connected, admin):
    """A replica after a failover, and a full server, can take nothing in."""
    outcomes = connected(mortal)
    outcomes.counts("b")

    with admin(mortal) as client:
        client.replicaof("127.0.0.1", 1)
    with pytest.raises(NeighbourUnavailableError):
        outcomes.record("b", 0, 1, 0, 1, Outcome(sent=1))

    with admin(mortal) as client:
        client.replicaof("NO", "ONE")
        client.config_set("maxmemory", 1)
    with pytest.raises(NeighbourUnavailableError):
        outcomes.record("b", 0, 1, 0, 1, Outcome(sent=1))
