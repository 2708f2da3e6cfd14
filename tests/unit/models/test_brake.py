"""When a config is stopped by itself."""

import pytest

from models.brake import BrakeRule, Rates

RULE = BrakeRule(min_sends=500, bounce_rate=0.1, complaint_rate=0.003)


@pytest.mark.parametrize(
    ("rates", "stops"),
    [
        (Rates(0, 0, 0), ""),
        (Rates(499, 499, 499), ""),
        (Rates(500, 50, 1), ""),
        (Rates(500, 51, 1), "51 of 500 messages (10.2 %) of the last 24 hours"),
        (Rates(500, 0, 2), "2 of 500 messages (0.4 %) of the last 24 hours"),
        (Rates(1000, 1000, 4), "4 of 1000 messages (0.4 %)"),
    ],
)  # fmt: skip
def test_rates_above_the_rule_stop_a_config(rates, stops):
    """A rate on the limit is borne; too few sends tell nothing."""
    reason = RULE.reason(rates)

    assert bool(reason) == bool(stops)
    assert stops in (reason or "")


def test_a_rate_of_one_never_stops():
    """So the brake is switched off."""
    assert BrakeRule(1, 1.0, 1.0).reason(Rates(10, 10, 10)) is None
