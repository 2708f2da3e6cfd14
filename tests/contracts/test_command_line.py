"""Dramatiq's own command line with our broker: several processes, reloaded, ended.

Each line that the application writes is one event of one job: `began` or `done`, the
job's number, and the process.
"""

import itertools
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from dramatiq import Message

from brokers import JetStreamBroker
from tests.contracts.broker import until

APPLICATION = """
import os
import time
import dramatiq
from brokers import JetStreamBroker

broker = JetStreamBroker(os.environ["NATS_URL"], namespace=os.environ["NAMESPACE"])
dramatiq.set_broker(broker)

def tell(event, n):
    with open(os.environ["EVENTS"], "a") as events:
        events.write(f"{event} {n} {os.getpid()}\\n")

@dramatiq.actor
def note(n, wait_s=0.0):
    tell("began", n)
    time.sleep(wait_s)
    tell("done", n)
"""


class Application:
    """The running command, what it told, and a broker that sends to it."""

    def __init__(self, folder, url, *options):
        self._events = folder / "events"
        self._events.touch()
        (folder / "application.py").write_text(APPLICATION)
        self.broker = JetStreamBroker(url, namespace=folder.name, middleware=[])
        command = [sys.executable, "-m", "dramatiq", "application", *options]
        self.process = subprocess.Popen(
            [*command, "--path", str(folder), "--processes", "2", "--threads", "4"],
            env=os.environ
            | {
                "NATS_URL": url,
                "NAMESPACE": folder.name,
                "EVENTS": str(self._events),
                "PYTHONPATH": os.pathsep.join(sys.path),
                # At a reload Dramatiq starts itself anew as whatever `python` is.
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            stderr=(folder / "log").open("w"),
            start_new_session=True,
        )

    def send(self, *numbers, wait_s=0.0):
        for n in numbers:
            self.broker.enqueue(
                Message("default", "note", (n,), {"wait_s": wait_s}, {})
            )

    def told(self, event):
        """Return how often each number had the event."""
        lines = [line.split() for line in self._events.read_text().splitlines()]
        return Counter(int(n) for what, n, _ in lines if what == event)

    @property
    def workers(self):
        """The processes that did something."""
        lines = self._events.read_text().splitlines()
        return {line.split()[2] for line in lines}

    def end(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.broker.close()


@pytest.fixture(params=[(), ("--use-spawn",)], ids=["fork", "spawn"])
def application(request, tmp_path, nats_url):
    application = Application(tmp_path, nats_url, *request.param)
    yield application
    application.end()


def test_processes_come_back_after_a_reload_and_end_in_order(application):
    """Each job is done once, whatever is signalled while it runs (A3, A4, H1)."""
    application.send(*range(40), wait_s=0.05)
    until(lambda: len(application.told("done")) == 40, within_s=60)
    first = application.workers

    application.send(*range(40, 80), wait_s=0.1)
    until(lambda: len(application.told("began")) > 44)
    application.process.send_signal(signal.SIGHUP)
    numbers = itertools.count(80)

    def is_reloaded():
        application.send(next(numbers))
        return application.workers - first

    until(is_reloaded, within_s=120)
    application.broker.join("default", timeout=20_000)
    sent = next(numbers)
    assert application.told("done") == Counter(range(sent))

    application.send(*range(sent, sent + 40), wait_s=0.4)
    until(lambda: len(application.told("began")) > sent + 4)
    application.process.send_signal(signal.SIGTERM)
    assert application.process.wait(60) == 0

    done = application.told("done")
    assert set(done.values()) == {1}
    assert done == application.told("began")
    left = application.broker.get_queue_message_counts("default")
    assert left == (sent + 40 - len(done), 0, 0)
    again = application.broker
    again.declare_queue("default")
    consumer = again.consume("default", prefetch=64, timeout=2000)
    # What was prefetched is there at once, not after the ack wait of a minute.
    given_back = {next(consumer).args[0] for _ in range(left[0])}
    assert given_back == set(range(sent + 40)) - set(done)
    consumer.close()
