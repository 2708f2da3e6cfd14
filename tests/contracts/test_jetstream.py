"""Our broker under the contract, on a real nats-server."""

import base64
import json
import os
import socket
import threading
import time
import uuid
from urllib.parse import urlsplit

import dramatiq
import pytest
from dramatiq import Message, Worker
from dramatiq.middleware import Callbacks, Middleware, Retries, TimeLimitExceeded

from brokers import JetStreamBroker, MessageTooLarge, current_delivery
from brokers.delays import delayed
from brokers.encoding import ENCODER
from brokers.publishing import Outgoing
from tests.contracts.applying import ApplicationContract
from tests.contracts.broker import job, taken, until
from tests.contracts.consuming import ConsumeContract
from tests.contracts.delaying import DelayContract
from tests.contracts.enqueueing import EnqueueContract
from tests.contracts.settling import SettleContract
from tests.contracts.working import WorkContract


class Backend:
    def __init__(self, server, queue):
        self.queue = queue
        self._server = server
        self._namespace = f"contract-{uuid.uuid4().hex[:8]}"
        self._made = []

    def broker(self, *middleware, lease_ms=60_000, **options):
        broker = JetStreamBroker(
            self._server.url,
            namespace=self._namespace,
            middleware=list(middleware),
            ack_wait_ms=lease_ms,
            publish_timeout_s=8,
            **options,
        )
        self._made.append(broker)
        return broker

    def peer(self, broker):
        return self.broker()

    def unreachable(self):
        broker = JetStreamBroker("nats://127.0.0.1:1", publish_timeout_s=0.2)
        self._made.append(broker)
        return broker

    def put(self, broker, body):
        link = broker._connection.link()
        link.wait_until_connected(5)
        stream = self._namespace
        link.run(broker._topology.ensure_stream(link, stream))
        subject = broker._topology.route(self.queue).subject
        link.run(link.request(subject, body))

    def size(self, broker, queue=None):
        ready, delayed, _ = broker.get_queue_message_counts(queue or self.queue)
        return ready + delayed

    def letters(self, broker):
        link = broker._connection.link()
        subject = broker._topology.route(self.queue).dead
        bodies, sequence = [], 1
        for _ in range(self.dead(broker)):
            found = link.run(
                link.api(
                    "STREAM.MSG.GET.dead-letters",
                    {"seq": sequence, "next_by_subj": subject},
                )
            )["message"]
            bodies.append(base64.b64decode(found["data"]))
            sequence = found["seq"] + 1
        return [Message.decode(body) for body in bodies]

    def dead(self, broker):
        return broker.get_queue_message_counts(self.queue)[2]

    def vanish(self, broker):
        link = broker._connection.link()
        link.run(link.api(f"STREAM.DELETE.{self._namespace}"))

    def stop(self):
        self._server.kill()

    def start(self):
        self._server.start()

    def close(self):
        for broker in self._made:
            broker.close()


@pytest.fixture
def backend(stack, queue):
    stack.nats.start()
    backend = Backend(stack.nats, queue)
    yield backend
    stack.nats.start()
    backend.close()


class TestEnqueue(EnqueueContract):
    pass


class TestDelay(DelayContract):
    pass


class TestConsume(ConsumeContract):
    pass


class TestSettle(SettleContract):
    pass


class TestWork(WorkContract):
    pass


class TestApplication(ApplicationContract):
    pass


class TestApplicationWithOurEncoder(ApplicationContract):
    @pytest.fixture
    def encoder(self):
        return ENCODER


@pytest.mark.parametrize("delay", [None, 60_000])
def test_a_message_too_large_is_refused_before_it_is_sent(backend, send, delay):
    """The server would cut the connection; other threads go on with it (E7)."""
    broker = backend.broker()
    send(broker)
    client = broker._connection.link()._client

    with pytest.raises(MessageTooLarge):
        send(broker, "x" * client.max_payload, delay=delay)

    send(broker)
    assert backend.size(broker) == 2
    assert broker._connection.link()._client.stats["reconnects"] == 0


def test_a_hundred_thousand_for_later_do_not_slow_one_for_now(backend, work, send):
    """They wait in the server, and nobody holds them (D2)."""
    broker, runs = backend.broker(), []
    dramatiq.actor(
        runs.append, actor_name="note", queue_name=backend.queue, broker=broker
    )
    send(broker, 100, delay=60_000)
    store_for_later(broker, backend, 100_000)
    until(lambda: backend.size(broker) == 100_001, within_s=60)
    work(broker)

    start = time.monotonic()
    for n in range(100):
        send(broker, n)
    send(broker, 100, delay=100)

    until(lambda: len(runs) == 101)
    assert time.monotonic() - start < 5
    assert backend.size(broker) == 100_001
    broker.flush(backend.queue)
    assert backend.size(broker) == 0


def store_for_later(broker, backend, count):
    """Store messages for tomorrow; written as one piece, which takes a tenth."""
    route, body = broker._topology.route(backend.queue), job(backend.queue).encode()
    [url] = broker._connection.link()._options.servers
    server = urlsplit(url)
    login = {"user": server.username, "pass": server.password, "verbose": False}
    one = Outgoing(route.stream, route.subject, body, {"Nats-Msg-Id": "x"})
    later = delayed(one, route, 86_400_000, "x")
    with socket.create_connection((server.hostname, server.port)) as wire:
        wire.sendall(b"CONNECT %s\r\n" % json.dumps(login | {"headers": True}).encode())
        pieces = []
        for n in range(count):
            headers = f"NATS/1.0\r\nNats-Msg-Id: {n}\r\n"
            for name in ("Nats-Schedule", "Nats-Schedule-Target"):
                headers += f"{name}: {later.headers[name]}\r\n"
            sizes = f"{len(headers) + 2} {len(headers) + 2 + len(body)}"
            head = f"HPUB {route.delayed}.{n} {sizes}\r\n{headers}\r\n"
            pieces += [head.encode(), body, b"\r\n"]
        wire.sendall(b"".join(pieces) + b"PING\r\n")
        while b"PONG" not in wire.recv(65_536):
            pass


def test_no_delay_queue_is_declared(backend, send):
    """A worker would start a thread for it (D4)."""
    broker = backend.broker()
    broker.declare_queue(backend.queue)

    send(broker, delay=10)

    assert broker.get_declared_delay_queues() == set()
    [message] = taken(broker.consume(queue_name=backend.queue, timeout=100))
    assert "eta" not in message.options


def test_a_vanished_consumer_is_made_again(backend, work, send):
    """Its messages are still there (Q2)."""
    broker, runs = backend.broker(), []
    dramatiq.actor(
        runs.append, actor_name="note", queue_name=backend.queue, broker=broker
    )
    work(broker)
    send(broker, 1)
    until(lambda: runs == [1])
    route, link = broker._topology.route(backend.queue), broker._connection.link()

    name = f"{route.stream}.{route.consumer_name()}"
    link.run(link.api(f"CONSUMER.DELETE.{name}"))

    send(broker, 2)
    until(lambda: runs == [1, 2])


def test_a_settled_message_stays_settled_over_a_restart(backend, send):
    """An ack given while the server is away is brought to it later (A1, A4)."""
    broker = backend.broker()
    broker.declare_queue(backend.queue)
    send(broker)
    consumer = broker.consume(queue_name=backend.queue, prefetch=1, timeout=100)
    [message] = taken(consumer)

    backend.stop()
    until(lambda: not broker._connection.link().is_online)
    consumer.ack(message)
    backend.start()

    until(lambda: backend.size(broker) == 0)
    consumer.close()


def test_a_retry_that_is_too_large_makes_a_dead_letter(backend, work, send):
    """It could never be stored; the message is kept as it was (S2, E7)."""
    broker = backend.broker(Retries(max_retries=3, min_backoff=1, max_backoff=1))
    runs = []

    @dramatiq.actor(actor_name="note", queue_name=backend.queue, broker=broker)
    def note(n):
        runs.append(n)
        # Dramatiq puts the traceback into the retry.
        raise ValueError("x" * 9_000_000)

    work(broker)
    sent = send(broker, 1)

    until(lambda: backend.dead(broker) == 1)
    assert backend.letters(broker) == [sent]
    assert runs == [1]


@pytest.mark.parametrize("victim", ["then", "note"])
def test_a_follow_up_that_is_interrupted_is_made_up_for(backend, work, send, victim):
    """A late time limit may hit a callback, or a retry in its making (S2, S3)."""
    strikes, runs = [1], []

    class Striking(Middleware):
        def before_enqueue(self, broker, message, delay):
            is_follow_up = message.actor_name == "then" or message.options
            if message.actor_name == victim and is_follow_up and strikes:
                strikes.pop()
                raise TimeLimitExceeded

    retries = Retries(max_retries=1, min_backoff=1, max_backoff=1)
    broker = backend.broker(Striking(), Callbacks(), retries)

    @dramatiq.actor(
        actor_name="note", queue_name=backend.queue, broker=broker, on_success="then"
    )
    def note(n):
        runs.append("note")
        if victim == "note" and len(runs) == 1:
            raise ValueError

    dramatiq.actor(
        lambda *_: runs.append("then"),
        actor_name="then",
        queue_name=backend.queue,
        broker=broker,
    )

    work(broker, threads=1)
    send(broker, 1)

    until(lambda: runs == ["note", "note", "then"])
    broker.join(backend.queue, timeout=5000)
    assert not strikes


def test_a_message_that_kills_its_workers_becomes_a_dead_letter(backend, work, send):
    """The one behind it, which the dead had only prefetched, is innocent (H3)."""
    runs = []

    def made(*, lethal):
        broker = backend.broker(lease_ms=600, max_deliveries=2)

        @dramatiq.actor(actor_name="note", queue_name=backend.queue, broker=broker)
        def note(n):
            if n == "poison" and lethal:
                os._exit(9)
            runs.append(n)

        return broker

    sender = backend.broker()
    for n in ("poison", "innocent"):
        send(sender, n)

    deaths = 0
    while not backend.dead(sender):
        child = os.fork()
        if not child:
            try:
                broker = made(lethal=True)
                Worker(broker, worker_threads=1, worker_timeout=100).start()
                until(lambda: runs)
            finally:
                os._exit(0)
        deaths += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert deaths < 5

    assert deaths == 3
    assert [letter.args for letter in backend.letters(sender)] == [("poison",)]


def test_what_is_postponed_or_requeued_counts_as_no_crash(backend, work, send):
    """However often (H3, A3)."""
    broker = backend.broker(max_deliveries=1)
    deliveries = []

    @dramatiq.actor(actor_name="note", queue_name=backend.queue, broker=broker)
    def note(n):
        deliveries.append(current_delivery().deliveries)
        if len(deliveries) < 6:
            current_delivery().postpone(0)

    send(broker, 1)
    for _ in range(3):
        consumer = broker.consume(queue_name=backend.queue, prefetch=1, timeout=100)
        consumer.requeue(taken(consumer))
        consumer.close()
    work(broker)

    broker.join(backend.queue, timeout=10_000)
    assert deliveries == [4, 5, 6, 7, 8, 9]
    assert backend.dead(broker) == 0


def test_heartbeats_do_not_pile_up_without_a_server(backend, send):
    """A long absence must not fill the memory (H1)."""
    broker = backend.broker(lease_ms=150)
    broker.declare_queue(backend.queue)
    send(broker)
    [message] = taken(broker.consume(queue_name=backend.queue, timeout=100))
    link = broker._connection.link()

    backend.stop()
    until(lambda: not link.is_online)
    threading.Event().wait(0.4)

    beat = message.delivery.reply.encode()
    assert not [frames for frames in link._outbox._frames if beat in frames]
