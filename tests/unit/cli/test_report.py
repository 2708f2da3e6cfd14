"""The figures of a batch add up as the sink and the API tell them."""

import pytest
from rich.console import Console

from cli.report import Deliveries, Result, show_result


def make_batch(**counts):
    five = dict.fromkeys(("sent", "failed", "unknown", "suppressed", "cancelled"), 0)
    return {
        "id": "b",
        "name": "news",
        "status": "completed",
        "reason": None,
        "rows": 12,
        "recipients": 10,
        "duplicates": 1,
        "invalid": 1,
        "counts": {**five, **counts},
        "queuedAt": "2026-01-01T00:00:00+00:00",
        "finishedAt": "2026-01-01T00:00:04Z",
        "stations": [],
    }


@pytest.mark.parametrize(
    ("counts", "accepted", "lost"),
    [
        ({"sent": 10}, 10, 0),
        ({"sent": 10}, 9, 1),
        ({"sent": 7, "failed": 1, "suppressed": 1, "cancelled": 1}, 7, 0),
        # An unknown recipient may have been accepted, and then nobody is lost.
        ({"sent": 8, "unknown": 2}, 9, 0),
    ],
)
def test_lost_is_who_should_have_been_delivered(counts, accepted, lost):
    """Whoever failed, was suppressed, cancelled or unknown is not lost."""
    batch = make_batch(**counts)

    result = Result.of(batch, Deliveries(accepted, repeated=0))

    assert result.lost == lost


def test_the_rate_is_from_queued_to_finished():
    """Ten recipients in four seconds are 2.5 a second."""
    result = Result.of(make_batch(sent=10), Deliveries(10, repeated=3))

    assert (result.seconds, result.recipients_per_s, result.repeated) == (4.0, 2.5, 3)


def test_what_a_batch_waits_for_and_who_sent_are_shown(capsys):
    """As the API tells them; of a batch with a fall-back, by config."""
    limited = {"limitedBy": {"text": "limited by the config's 50/s"}}
    batch = make_batch(sent=10) | limited | {"sentBy": {"ours": 1200, "theirs": 3}}

    show_result(Console(), batch, Result.of(batch))

    shown = capsys.readouterr().out
    assert "Waits: limited by the config's 50/s." in shown
    assert "Sent by ours: 1,200\nSent by theirs: 3" in shown


def test_what_nobody_can_tell_is_null():
    """Without a sink of ours, and before the end, there are no such figures."""
    batch = make_batch(sent=1) | {"finishedAt": None}

    figures = Result.of(batch).as_json()

    unknown = {name for name, value in figures.items() if value is None}
    assert unknown == {"lost", "repeated", "seconds", "recipients_per_s"}


def test_the_json_of_a_demo_has_no_id():
    """Its last line holds the figures in the promised order."""
    names = list(Result.of(make_batch()).as_json(with_id=False))

    assert names == [
        "rows", "recipients", "duplicates", "invalid", "sent", "failed", "unknown",
        "suppressed", "cancelled", "lost", "repeated", "seconds", "recipients_per_s",
    ]  # fmt: skip
