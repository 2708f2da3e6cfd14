"""Requests are told by route, so that nobody's ids or guesses become labels."""

import pytest

from telemetry import METRICS


@pytest.fixture
def counted():
    """Tells how many requests were counted since the test began."""
    name = "batchsender_http_requests_total"

    def count(method, route, status):
        labels = {"app": "web", "method": method, "route": route, "status": status}
        return METRICS.get_sample_value(name, labels) or 0

    before = {}

    def since(*labels):
        return count(*labels) - before.setdefault(labels, 0)

    since.begin = lambda *labels: before.setdefault(labels, count(*labels))
    return since


def test_a_request_counts_for_its_template_with_its_status(tenant, counted):
    """Refusals and errors have theirs; the time is that of all of them."""
    show = "/api/batches/<uuid:batch_id>"
    labels = [("GET", show, "200"), ("GET", show, "404"), ("any", "none", "404")]
    for one in labels:
        counted.begin(*one)
    batch_id = tenant.make_batch()

    tenant.get(f"/api/batches/{batch_id}")
    tenant.get(f"/api/batches/{'0' * 8}-0000-0000-0000-{'0' * 12}")
    tenant.ask("PROPFIND", "/somebody/guesses")

    assert [counted(*one) for one in labels] == [1, 1, 1]
    seconds = METRICS.get_sample_value(
        "batchsender_http_request_seconds_count",
        {"app": "web", "method": "GET", "route": show},
    )
    assert seconds >= 2
