"""Single steps of a ledger row that were once taken wrongly."""

from dataclasses import replace

from models import chunk
from models.chunk import CallIntent, Chunk
from models.outcome import Answer, Outcome

NO_ANSWER = Answer(unanswered=1)
REFUSED = Answer(failed={0: "No such mailbox."})


def in_second_call(*, keyed: bool) -> Chunk:
    """One recipient: no answer, given up, reopened, and called under a new key."""
    row = chunk.begun(Chunk("b", 0, 0, 1), [1], account="a:1", at=0.0)
    row = chunk.answered(row, row.in_call[0], NO_ANSWER, keyed=keyed)
    row = chunk.given_up(row, row.in_call, "The key is too old.")
    return chunk.begun(replace(row, unknown=0), [1], account="a:1", at=9.0)


def test_a_refusal_under_another_key_proves_nothing_about_the_first_call():
    """Rule 6: who was ever in doubt ends sent, unknown, or failed by that very key."""
    row = in_second_call(keyed=True)

    row = chunk.answered(row, row.in_call[0], REFUSED, keyed=True)

    assert (row.failed, row.unknown) == (0, 1)


def test_the_very_key_of_a_doubt_may_refuse():
    """The provider answers what it would have answered at first."""
    row = chunk.begun(Chunk("b", 0, 0, 1), [1], account="a:1", at=0.0)
    row = chunk.answered(row, row.in_call[0], NO_ANSWER, keyed=True)

    row = chunk.answered(row, row.in_call[0], REFUSED, keyed=True)

    assert (row.failed, row.unknown) == (1, 0)


def test_a_record_does_not_open_whom_it_names_unknown():
    """Who is refused by a key other than the doubt's is not called once more."""
    row = chunk.begun(Chunk("b", 0, 0, 2), [3], account="a:1", at=0.0)

    row = chunk.recorded(row, Outcome(sent=1, unknown=2), keyed=True)

    assert (row.sent, row.unknown, row.open, row.in_call) == (1, 2, 0, ())


def test_somebody_in_doubt_who_unsubscribed_is_not_called_again():
    """Neither repeated nor called suppressed: nobody can tell what the first did."""
    row = replace(Chunk("b", 0, 0, 2), doubt=1)

    row = chunk.left_out(row, suppressed=3)

    assert (row.suppressed, row.unknown, row.open) == (2, 1, 0)


def test_a_call_without_a_note_of_earlier_doubt_is_read():
    """Rows written before the note was kept."""
    call = CallIntent(1, 5, "a:1", 2.0, doubted=4)
    value = call.to_json()

    assert CallIntent.of_json(value) == call
    value.pop("doubted")
    assert CallIntent.of_json(value) == replace(call, doubted=0)
