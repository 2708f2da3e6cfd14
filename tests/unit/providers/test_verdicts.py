"""How a row is found, and what becomes of several."""

import time

from models.outcome import Hold, ReportedRate
from providers.http import HttpAnswer
from providers.rate_headers import reported_rate
from providers.verdicts import (
    LATER_S,
    NOT_READABLE,
    Taken,
    Then,
    Verdict,
    by_member,
    judged,
    verdict_on,
)

TABLE = {
    "429 quota": Verdict(Then.PAUSE, "refused", "Quota."),
    "quota": Verdict(Then.FAIL, "refused", "Quota of another kind."),
    "429": Verdict(Then.RETRY, "refused", "Slower."),
    "4xx": Verdict(Then.FAIL, "refused", "No."),
    "5xx": Verdict(Then.RETRY, "none", "Away."),
}


def test_the_most_telling_row_counts():
    """Status and name, name, status, hundred; else nothing is proven."""
    found = [
        verdict_on(TABLE, status, names).says
        for status, names in (
            (429, ["quota"]),
            (400, ["quota"]),
            (429, ["other"]),
            (418, []),
            (500, ["quota"]),
        )
    ]

    assert found == ["Quota.", "Quota of another kind.", "Slower.", "No.", "Away."]
    assert verdict_on(TABLE, 302, ["x"]) == NOT_READABLE


def test_members_fare_each_as_they_did():
    """And what one demands holds for all: the longest wait, the widest hold."""
    retry = Verdict(Then.RETRY, "refused", "Slower.", wait_s=7)
    results = [
        Taken("a"),
        Verdict(Then.FAIL, "refused", "No."),
        Verdict(Then.SUPPRESS, "refused", "Left."),
        Verdict(Then.RETRY, "none", "Away."),
        Verdict(Then.UNKNOWN, "none", "Lost."),
        retry,
        Verdict(Then.RETRY_LATER, "refused", "Full."),
        Verdict(Then.STOP_SENDER, "refused", "Blocked."),
        Verdict(Then.PAUSE, "refused", "Quota."),
        Verdict(Then.RETRY, "accepted", "Taken before."),
    ]

    answer = by_member(results)

    assert answer.accepted == 0b1000000001
    assert answer.failed == {1: "No.", 2: "Left."}
    assert answer.suppress == {2: "Left."}
    assert (answer.unanswered, answer.undecidable) == (0b1000, 0b10000)
    assert answer.retry_after_s == LATER_S
    assert answer.hold == Hold("config", "Quota.")
    assert list(answer.provider_ids) == ["a", *[None] * 9]
    assert by_member([retry]).retry_after_s == 7


def test_a_row_quotes_only_if_it_may_and_never_a_secret():
    """The words are the provider's, and cut."""
    row = Verdict(Then.FAIL, "refused", "No.", quotes=True)
    told = row.quoting("key hush-hush is bad", ["hush-hush"])

    assert told.says == "No. It said: key … is bad"
    assert row.quoting("a", ["a"]).says == "No. It said: a"
    assert len(row.quoting("x" * 1000).says) < 350
    assert TABLE["429"].quoting("words") == TABLE["429"]


def test_the_wait_that_was_asked_for_goes_with_the_row():
    """Whatever the status is."""
    found = judged(HttpAnswer(503, {"retry-after": "9"}, b""), TABLE)

    assert found is not None
    assert (found.wait_s, found.proof) == (9, "none")


def test_a_rate_is_told_whole_or_not_at_all():
    """A reset is in seconds, or a time since 1970."""
    given = {"x-limit": "10", "x-remaining": "0", "x-reset": "3"}
    later = {**given, "x-reset": str(time.time() + 60)}

    assert reported_rate(given, prefix="x-") == ReportedRate(10, 0, 3)
    assert 50 < reported_rate(later, prefix="x-").reset_s <= 60
    assert reported_rate({**given, "x-reset": "soon"}, prefix="x-") is None
    assert reported_rate({}, prefix="x-") is None
