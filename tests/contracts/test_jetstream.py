"""Our broker under the contract, on a real nats-server."""

import base64
import uuid

import pytest
from dramatiq import Message

from brokers import JetStreamBroker
from tests.contracts.applying import ApplicationContract
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
            publish_timeout_s=2,
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
