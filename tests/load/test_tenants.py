"""Fairness among a thousand tenants, bounded in count and time."""

import dramatiq
import pytest

from benchmarks.broker_tenants import fairness, server
from brokers.encoding import ENCODER


@pytest.mark.load
@pytest.mark.timeout(300)
def test_999_small_tenants_are_done_before_a_hundredth_of_the_large_one():
    """The large one stored 200,000 jobs first; two workers share the load."""
    dramatiq.set_encoder(ENCODER)

    with server() as (url, _):
        found = fairness(url, large=200_000, small=999, workers=2)

    print(found)  # noqa: T201 - the figure is what the run is for
    assert found["large_before_last_small"] <= 2_000
