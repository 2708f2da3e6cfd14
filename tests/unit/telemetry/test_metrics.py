"""Every metric is told, with its unit, and can be asked for without surprises."""

import re

import pytest

from tests.metrics_catalog import PAGE, known, written


def test_the_page_tells_every_metric_as_it_is():
    """`python -m tests.metrics_catalog` writes it anew."""
    assert PAGE.read_text(encoding="utf-8") == written()


@pytest.mark.parametrize("metric", known(), ids=lambda one: one.name)
def test_a_metric_says_what_it_counts(metric):
    """Ours begin with our name, and end with their unit where they have one."""
    assert re.fullmatch(r"(batchsender|dramatiq_nats)_[a-z][a-z_]*[a-z]", metric.name)
    assert metric.text.endswith(".")
    assert metric.unit == "number" or metric.name.endswith(metric.unit)
    assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket"))
