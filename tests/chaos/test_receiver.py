"""The receiver as it is served: hostile connections, and kill -9 under load."""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from benchmarks import webhook_load
from brokers import JetStreamBroker, dispatch
from embedded.data_dir import choose_ports
from embedded.process import Process
from embedded.services import LISTENING, services
from embedded.stack import Stack
from tests.chaos.house import until
from tests.fakes.reports import RESEND_EVENT, standard_headers
from webhook_app.requests import MAX_BODY_BYTES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def receiver(stack: Stack, tmp_path_factory) -> Iterator[Process]:
    stack.nats.start()
    folder = tmp_path_factory.mktemp("receiver")
    ports = choose_ports(folder, LISTENING, explicit={})
    settings = {**stack.urls(), "RESEND_WEBHOOK_SECRET": webhook_load.SECRET}
    specs = {spec.name: spec for spec in services(settings, ports, folder)}
    process = Process(specs["webhook"])
    process.start()
    yield process
    process.stop()


@pytest.fixture
def broker(nats_url: str) -> Iterator[JetStreamBroker]:
    broker = dispatch.connect(nats_url, middleware=[])
    broker.declare_queue("webhook")
    broker.flush("webhook")
    yield broker
    broker.flush("webhook")
    broker.close()


def answer(receiver: Process, *parts: bytes) -> int:
    """Return the status of what is answered to these bytes."""
    with socket.create_connection(("127.0.0.1", receiver.spec.port), 30) as opened:
        opened.settimeout(30)
        for part in parts:
            try:
                opened.sendall(part)
            except OSError:
                break
        return int(opened.recv(65536)[9:12] or 0)


def head(**headers: object) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /webhooks/resend HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode()


def in_chunks(raw: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(raw), raw)


def test_a_body_in_chunks_is_taken_up_to_the_cap(receiver, broker):
    raw = orjson.dumps(RESEND_EVENT)
    signed = standard_headers(raw, "chunked", key=webhook_load.KEY)
    chunked = {"transfer-encoding": "chunked"}
    piece = in_chunks(b" " * 64 * 1024)

    taken = answer(
        receiver,
        head(**signed, **chunked),
        in_chunks(raw[:5]) + in_chunks(raw[5:]),
        b"0\r\n\r\n",
    )
    refused = answer(
        receiver, head(**chunked), *[piece] * (MAX_BODY_BYTES // 65536 + 2)
    )

    assert (taken, refused) == (200, 413)
    assert broker.stored("webhook") == {"": 1}


def test_a_length_above_the_cap_is_refused_before_the_body_comes(receiver):
    told = head(**{"content-length": 10**12})

    assert answer(receiver, told) == 413


def test_bodies_that_never_come_do_not_keep_out_the_others(receiver, broker):
    """Twice as many as there are threads, from another address."""
    told = head(**{"content-length": 100})
    raw = orjson.dumps(RESEND_EVENT)
    signed = standard_headers(raw, "besides", key=webhook_load.KEY)
    with contextlib.ExitStack() as slow:
        for _ in range(64):
            opened = socket.create_connection(
                ("127.0.0.1", receiver.spec.port), 30, source_address=("127.0.0.2", 0)
            )
            slow.enter_context(contextlib.closing(opened)).sendall(told)

        taken = answer(receiver, head(**signed, **{"content-length": len(raw)}), raw)

    assert taken == 200


def test_each_200_before_a_kill_is_in_the_stream(receiver, broker, tmp_path):
    answered = tmp_path / "answered"
    prefix = f"k{time.time_ns()}-"
    load = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.webhook_load"),
            *("--port", str(receiver.spec.port), "--reports", "30000"),
            *("--connections", "32", "--prefix", prefix),
            *("--answered", str(answered)),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert load.stdout.readline() == "ready\n"

    load.stdin.write("\n")
    load.stdin.flush()
    until(lambda: broker.stored("webhook").get("", 0) > 1000, "no load")
    receiver.kill()
    told = json.loads(load.communicate(timeout=60)[0].splitlines()[-1])

    ids = set(answered.read_text().splitlines())
    assert len(ids) == told["answered"] > 500
    assert told["answered"] < 30000
    assert ids <= stored_ids(broker)
    receiver.start()
    assert answer(receiver, head()) == 401


def stored_ids(broker: JetStreamBroker) -> set[str]:
    """Read the stream back."""
    left = broker.stored("webhook")[""]
    consumer = broker.consume("webhook", prefetch=1000, timeout=1000)
    found: set[str] = set()
    while left:
        message = next(consumer)
        if message is not None:
            consumer.ack(message)
            found.add(message.kwargs["event_id"])
            left -= 1
    consumer.close()
    return found
