"""One page tells what all processes of a service did, whichever of them answers."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from http.client import HTTPConnection

import pytest
from prometheus_client.parser import text_string_to_metric_families

from embedded.data_dir import choose_ports
from middleware.metrics_page import pool_sample, serve
from telemetry import POOL_IN_USE, POOL_SIZE

#: One process of a service: it counts five chunks, and has five connections in use.
PROCESS = """
import signal, sys
from middleware.metrics_page import serve
from telemetry import FOLDED_CHUNKS, LEADS, PROVIDER_CALL_SECONDS
FOLDED_CHUNKS.inc(5)
LEADS.set(1)
PROVIDER_CALL_SECONDS.labels("custom").observe(0.2)
serve("127.0.0.1", int(sys.argv[1]))
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture
def port(tmp_path):
    return choose_ports(tmp_path, ["metrics"], explicit={})["metrics"]


@pytest.fixture
def start(tmp_path, port):
    """Starts one more process of the service; none outlives the test."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "counts")}
    with ExitStack() as ending:

        def started():
            process = subprocess.Popen(
                [sys.executable, "-c", PROCESS, str(port)],
                env=environment, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            ending.callback(process.wait)
            ending.callback(process.stdout.close)
            ending.callback(process.kill)
            assert process.stdout.readline() == "ready\n"
            return process

        yield started


def asked(port, path):
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    with answer:
        return answer.status, answer.read().decode()


def scraped(port):
    """Return what a scrape finds, by name and labels' values."""
    families = text_string_to_metric_families(asked(port, "/metrics")[1])
    return {
        (one.name.removeprefix("batchsender_"), *one.labels.values()): one.value
        for family in families
        for one in family.samples
    }


def test_processes_of_a_service_are_counted_together(start, port):
    """Whoever dies takes its gauges along, and nothing that it counted."""
    processes = [start(), start()]

    both = scraped(port)
    processes[0].send_signal(signal.SIGKILL)
    processes[0].wait()
    one = scraped(port)

    assert (both["folded_chunks_total",], both["leads",]) == (10, 2)
    assert both["provider_call_seconds_count", "custom"] == 2
    assert (one["folded_chunks_total",], one["leads",]) == (10, 1)


def test_the_page_knows_two_paths(start, port):
    start()

    assert asked(port, "/health") == (200, "ok\n")
    assert asked(port, "/") == (404, "")
    assert asked(port, "/metrics?name=x")[0] == 200


def test_a_port_that_is_taken_stops_nobody(port, caplog):
    """Whoever watches must not stop who works; it is told, though."""
    with socket.create_server(("127.0.0.1", port)):
        serve("127.0.0.1", port)

    assert "No metrics on" in caplog.text


def test_the_most_connections_in_use_are_told_once(ledger_database):
    """A peak between two samples is not missed, and not told a second time."""
    sample = pool_sample(ledger_database)
    ledger_database.most_in_use()
    with ExitStack() as uses:
        for _ in range(3):
            uses.enter_context(ledger_database.statement())

    found = []
    for _ in range(2):
        sample()
        found.append(POOL_IN_USE._value.get())

    assert found == [3, 0]
    assert POOL_SIZE._value.get() == 6


def test_samples_are_taken_again_and_again(port, monkeypatch):
    monkeypatch.setattr("middleware.metrics_page.SAMPLE_S", 0.01)
    taken = []

    serve("127.0.0.1", port, samples=[lambda: taken.append(1)])

    deadline = time.monotonic() + 10
    while len(taken) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.005)
