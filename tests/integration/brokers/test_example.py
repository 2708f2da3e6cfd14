"""The example does what it says, by a user who may do only what the page allows."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from brokers import JetStreamBroker
from tests.integration.brokers.conftest import Server, until

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "broker.md"
READERS = 60
#: Each is stored before the first worker starts.
FIRST_JOBS = {"mail": READERS + 1, "opens": READERS + 1, "partner": 8, "reports": 1}


@pytest.fixture(scope="module")
def restricted_server(tmp_path_factory):
    """A server with the permissions that the page gives to the example's user."""
    (config,) = re.findall(
        r"^```conf\n(.*?)^```",
        PAGE.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    server = Server(tmp_path_factory.mktemp("nats"), config)
    server.start()
    yield server
    server.kill()


class Example:
    """The two commands of the example, and what they wrote."""

    def __init__(self, folder, server):
        url = server.url.replace("nats://", "nats://newsletter:change-me@")
        self.outbox = folder / "outbox"
        self._log = folder / "log"
        self._environment = os.environ | {"NATS_URL": url, "OUTBOX": str(self.outbox)}
        self._processes = []
        self.broker = JetStreamBroker(
            url, namespace="newsletter", middleware=[], max_priority=1
        )

    def start(self, *module):
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=self._log.open("a"),
            text=True,
        )
        self._processes.append(process)
        return process

    def is_stored(self):
        counts = self.broker.get_queue_message_counts
        # The reminder may be there, too.
        return all(counts(queue)[0] >= n for queue, n in FIRST_JOBS.items())

    def end(self):
        self.broker.close()
        for process in self._processes:
            # Its workers are children of it: it ends them.
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


@pytest.fixture
def example(tmp_path, restricted_server):
    example = Example(tmp_path, restricted_server)
    yield example
    example.end()


def test_the_example_does_what_it_says(example, restricted_server):
    """All that it shows happens, whatever was enqueued before a worker was there."""
    sender = example.start("examples.newsletter")
    until(example.is_stored, within_s=60)
    example.start(
        "dramatiq", "examples.newsletter", "--processes", "2", "--threads", "4"
    )

    told, _ = sender.communicate(timeout=120)
    until(lambda: "to the author" in example.outbox.read_text(), within_s=60)
    lines = example.outbox.read_text().splitlines()
    opens = [
        int(n) for n in re.findall(r"^(\d+) opens$", "\n".join(lines), re.MULTILINE)
    ]
    overtaken = re.search(r"before (\d+) of them", told)

    assert sender.returncode == 0
    assert f"{READERS} readers have the issue" in told
    assert "2 of 3 reports were there already" in told
    assert "1 dead letter: ValueError: This is no address." in told
    assert int(overtaken[1]) > READERS / 2
    assert len({line for line in lines if line.startswith("december to")}) == READERS
    assert len({line for line in lines if line.startswith("partner knows")}) == 8
    assert sum(opens) == READERS
    assert len(opens) < 10
    assert "iolation" not in (restricted_server.folder / "log").read_text()
