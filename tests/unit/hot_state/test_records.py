"""Outcome records survive the way there and back, and add up."""

from hot_state.records import from_lines, to_line
from models.outcome import Outcome


def test_a_record_comes_back_as_it_was():
    """Nothing is lost on the way through JSON."""
    outcome = Outcome(
        sent=0b0011,
        failed=0b0100,
        unknown=0b1000,
        suppressed=1 << 499,
        provider_ids={0: "a", 1: "b"},
        errors={2: "no such address", 3: "no answer"},
    )

    assert from_lines(to_line(outcome)) == outcome


def test_a_record_of_nobody_is_one_line():
    """An empty outcome is a fact too."""
    assert to_line(Outcome()) == b"{}\n"
    assert from_lines(b"{}\n") == Outcome()


def test_higher_rank_stays_where_groups_meet():
    """Sent beats failed beats suppressed beats unknown, whatever came first."""
    late_answer = Outcome(sent=0b0001, provider_ids={0: "a"})
    refusal = Outcome(failed=0b0011, errors={0: "no answer", 1: "refused"})
    doubt = Outcome(unknown=0b1111, suppressed=0b0100)

    found = from_lines(to_line(late_answer) + to_line(refusal) + to_line(doubt))

    assert found == Outcome(
        sent=0b0001,
        failed=0b0010,
        suppressed=0b0100,
        unknown=0b1000,
        provider_ids={0: "a"},
        errors={1: "refused"},
    )
