"""Every process is scraped over HTTP, and what they say adds up after a batch."""

import json
import time
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

LATE_S = 90.0


def scraped(port):
    """Return a page's values by name and labels."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in families
        for one in family.samples
    }


class Pages:
    """The pages of all services, by name."""

    def __init__(self, status):
        self._ports = {
            row["name"]: row["metrics_port"]
            for row in status["processes"]
            if row["metrics_port"]
        }
        self.services = sorted(self._ports)

    def value(self, service, name, **labels):
        """Return one value, 0.0 when it was never counted."""
        found = scraped(self._ports[service])
        return found.get((name, frozenset(labels.items())), 0.0)

    def until(self, expected, service, name, **labels):
        """Wait until a value is what it must become, and return it."""
        deadline = time.monotonic() + LATE_S
        while (found := self.value(service, name, **labels)) != expected:
            assert time.monotonic() < deadline, f"{name} is {found}."
            time.sleep(0.2)
        return found


def test_what_the_processes_count_adds_up(run, tmp_path):
    """A batch and a single message, seen at each station."""
    up = run("up", "--detach")
    assert up.returncode == 0, up.stderr
    pages = Pages(json.loads(run("status", "--json").stdout))
    demo = run("demo", "--rows", "1300")
    assert demo.returncode == 0, demo.stderr
    sent = json.loads(demo.stdout.splitlines()[-1])["sent"]
    one = run("send-one", "a@b.example", "--config", "demo", "--text", "x", "--wait")
    assert one.returncode == 0, one.stderr

    answered = {
        name: pages.value(
            name,
            "batchsender_answered_recipients_total",
            provider="custom",
            outcome="sent",
        )
        for name in ("worker", "priority")
    }
    jobs = pages.value(
        "worker",
        "dramatiq_nats_jobs_processed_total",
        actor="send_chunk",
        queue="chunk",
    )

    assert pages.services == ["priority", "scheduler", "web", "webhook", "worker"]
    assert answered == {"worker": sent, "priority": 1}
    assert jobs == 3
    assert pages.value("worker", "batchsender_claim_seconds_count") == jobs
    # Three chunks, and the message's own.
    pages.until(4, "scheduler", "batchsender_folded_chunks_total")
    # Each is queued, and then sent.
    pages.until(2 * (sent + 1), "scheduler", "batchsender_event_rows_total")
    assert pages.value("scheduler", "batchsender_leads") == 1
    for neighbour in ("nats", "postgres", "dragonfly", "clickhouse"):
        asked = {"neighbour": neighbour}
        pages.until(1, "scheduler", "batchsender_neighbour_up", **asked)
    pages.until(0, "scheduler", "batchsender_waiting_recipients")
    route = "/api/batches/<uuid:batch_id>/send"
    accepted = {"app": "web", "method": "POST", "route": route, "status": "202"}
    assert pages.value("web", "batchsender_http_requests_total", **accepted) == 1
    assert pages.value("web", "batchsender_database_pool_size") == 20
    live = {"app": "webhook", "method": "GET", "route": "/health"}
    assert pages.value("webhook", "batchsender_http_request_seconds_count", **live) >= 1
    assert who_did(
        run, ("config.created", "batch.sent", "batch.started", "batch.finished")
    ) == ["api_key", "api_key", "system", "system"]


def who_did(run, actions):
    """Return what kind of somebody did each, once all are in the audit log."""
    deadline = time.monotonic() + LATE_S
    while True:
        lines = run("audit", "--json").stdout.splitlines()
        found = {one["action"]: one["actor"]["kind"] for one in map(json.loads, lines)}
        if found.keys() >= set(actions):
            return [found[action] for action in actions]
        assert time.monotonic() < deadline, lines
        time.sleep(0.5)
