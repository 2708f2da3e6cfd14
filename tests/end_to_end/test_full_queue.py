"""NATS has no room: the command says so, nothing is lost, and room is enough."""

import asyncio
import json
import time
from contextlib import suppress
from pathlib import Path

import nats
import pytest
from nats.js.errors import ServiceUnavailableError

from cli.machine import sink_ledger
from embedded import sink_ledger as ledgers
from embedded.data_dir import choose_ports
from embedded.nats_server import NatsServer

#: What our NATS may store; a batch of a few thousand is larger than that.
STORED_BYTES = 200_000
LATE_S = 60.0


class Queue:
    """A NATS with little room, and somebody else's messages in it."""

    def __init__(self, folder: Path) -> None:
        (port,) = choose_ports(folder, ["nats"], explicit={}).values()
        self.server = NatsServer(folder, port, "secret", max_stored_bytes=STORED_BYTES)

    def fill(self) -> None:
        """Store messages of somebody else until no more is taken."""
        asyncio.run(self._fill())

    def make_room(self) -> None:
        """Drop them."""
        asyncio.run(self._make_room())

    async def _fill(self) -> None:
        async with await nats.connect(self.server.url) as client:
            jetstream = client.jetstream()
            await jetstream.add_stream(name="others", subjects=["others"])
            with suppress(ServiceUnavailableError):
                for _ in range(STORED_BYTES // 1000 + 1):
                    await jetstream.publish("others", bytes(1000))
                pytest.fail("It takes more than it should.")

    async def _make_room(self) -> None:
        async with await nats.connect(self.server.url) as client:
            await client.jetstream().purge_stream("others")


@pytest.fixture
def queue(tmp_path, environment):
    queue = Queue(tmp_path / "queue")
    queue.server.start()
    environment["NATS_URL"] = queue.server.url
    yield queue
    queue.server.stop()


@pytest.fixture
def machine(queue, run):
    """A machine that has sent something and uses that NATS."""
    up = run("up", "--detach")
    assert up.returncode == 0, up.stderr
    demo = run("demo", "--rows", "100")
    assert demo.returncode == 0, demo.stderr
    return run


def write(path, recipients):
    lines = (f'{{"email": "a{i}@b.example"}}\n' for i in range(recipients))
    path.write_text("".join(lines))
    return str(path)


def test_a_full_queue_is_one_sentence_and_room_is_enough(
    machine, queue, data_dir, tmp_path
):
    """The batch stays as it is, and goes on by itself."""
    queue.fill()
    file = write(tmp_path / "mine.ndjson", 10)

    sent = machine("send", file, "--config", "demo", "--text", "x", "--wait")
    doctor = machine("doctor", "--json")

    told = sent.stderr.splitlines()[-1]
    assert (sent.returncode, sent.stdout) == (1, ""), sent.stderr
    assert told.startswith("Error: The batch waits: NATS takes no messages")
    assert "give it room" in told
    assert "Traceback" not in sent.stderr
    assert doctor.returncode == 1
    wrong = [one for one in json.loads(doctor.stdout)["checks"] if not one["ok"]]
    assert [one["name"] for one in wrong] == ["NATS"]
    assert "full" in wrong[0]["detail"]
    batches = json.loads(machine("batches", "--json").stdout)
    waiting = batches[0]
    assert [one["name"] for one in batches[:1]] == ["mine"]
    assert (waiting["status"], sum(waiting["counts"].values())) == ("processing", 0)

    queue.make_room()

    batch = finished(machine, waiting["id"])
    assert (batch["status"], batch["counts"]["sent"]) == ("completed", 10)
    assert batch["reason"] is None
    assert delivered(data_dir, batch) == ([], [])
    assert machine("doctor").returncode == 0


def test_a_batch_larger_than_the_room_goes_through_bit_by_bit(
    machine, data_dir, tmp_path
):
    """What is sent makes room for the rest; nobody is told to do anything."""
    (demo,) = json.loads(machine("config", "list", "--json").stdout)
    # All of it is published at once and sent in six seconds: it cannot fit.
    url = demo["settings"]["url"]
    slow = machine("config", "create", "slow", "--url", url, "--rate", "5000")
    assert slow.returncode == 0, slow.stderr
    file = write(tmp_path / "large.ndjson", 30_000)

    sent = machine("send", file, "--config", "slow", "--text", "x", "--wait", "--json")

    assert sent.returncode == 0, sent.stderr
    result = json.loads(sent.stdout)
    assert (result["sent"], result["lost"], result["repeated"]) == (30_000, 0, 0)


def finished(run, batch_id):
    """Return the batch once it is over, by the API alone."""
    deadline = time.monotonic() + LATE_S
    while time.monotonic() < deadline:
        batch = json.loads(run("batch", batch_id, "--json").stdout)
        if batch["finishedAt"]:
            return batch
    pytest.fail(f"The batch is {batch['status']}: {batch['reason']}")


def delivered(data_dir, batch):
    """Return whom the sink missed, and whom it got twice."""
    ledger = ledgers.read(sink_ledger(data_dir))
    sent = batch["counts"]["sent"]
    return ledger.lost(batch["id"], sent), ledger.repeated(batch["id"])
