"""The commands of our own processes."""

from pathlib import Path

import pytest

from embedded.services import LISTENING, services


def test_services_come_in_the_order_of_their_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who is called is there before who calls; every one knows the servers."""
    monkeypatch.setenv("WORKER_PROCESSES", "3")
    ports = {name: 1000 + number for number, name in enumerate(LISTENING)}

    specs = services({"NATS_URL": "nats://x"}, ports, tmp_path)

    names = [spec.name for spec in specs]
    assert names == [
        "sink", "worker", "priority", "outgoing", "scheduler", "webhook", "web",
    ]  # fmt: skip
    assert all(spec.env["NATS_URL"] == "nats://x" for spec in specs)
    assert {spec.name: spec.port for spec in specs if spec.port} == ports
    worker, priority, outgoing = (" ".join(spec.argv) for spec in specs[1:4])
    assert worker.endswith("--processes 3 --threads 8 --queues batch chunk webhook")
    assert priority.endswith("--processes 1 --threads 8 --queues priority")
    assert outgoing.endswith("--processes 1 --threads 16 --queues outgoing")
    assert len({spec.log_path for spec in specs}) == len(specs)
