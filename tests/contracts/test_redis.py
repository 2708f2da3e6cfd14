"""Dramatiq's RedisBroker under the contract, on Valkey."""

import uuid

import pytest
import redis
from dramatiq import Message
from dramatiq.brokers.redis import MAINTENANCE_SCALE, RedisBroker
from dramatiq.common import dq_name, xq_name

from tests.contracts.applying import ApplicationContract
from tests.contracts.consuming import ConsumeContract
from tests.contracts.delaying import DelayContract
from tests.contracts.enqueueing import EnqueueContract
from tests.contracts.settling import SettleContract
from tests.contracts.working import WorkContract

OWN_ID = "It adds an id of its own to the options."


class Backend:
    def __init__(self, server, queue):
        self.queue = queue
        self._server = server
        self._namespace = f"contract-{uuid.uuid4().hex[:8]}"
        self._made = []

    def broker(self, *middleware, lease_ms=60_000):
        broker = RedisBroker(
            url=self._server.url,
            middleware=list(middleware),
            namespace=self._namespace,
            heartbeat_timeout=lease_ms,
            # Its recovery is a matter of chance, which here is certain.
            maintenance_chance=MAINTENANCE_SCALE,
        )
        self._made.append(broker)
        return broker

    def peer(self, broker):
        return self.broker()

    def unreachable(self):
        return RedisBroker(url="redis://127.0.0.1:1")

    def put(self, broker, body):
        key = uuid.uuid4().hex
        if b'"options":{' in body:
            body = body.replace(b'"options":{', f'"options":{{"redis_message_id":"{key}"'.encode())
        broker.do_enqueue(self.queue, key, body)

    def size(self, broker, queue=None):
        return broker.do_qsize(queue or self.queue)

    def letters(self, broker):
        key = f"{self._namespace}:{xq_name(self.queue)}.msgs"
        return [Message.decode(body) for body in broker.client.hvals(key)]

    def dead(self, broker):
        return len(self.letters(broker))

    def vanish(self, broker):
        for name in (self.queue, dq_name(self.queue)):
            for key in broker.client.keys(f"{self._namespace}:{name}*"):
                broker.client.delete(key)

    def stop(self):
        self._server.kill()

    def start(self):
        self._server.start()

    def close(self):
        for broker in self._made:
            broker.close()


@pytest.fixture
def backend(stack, queue):
    stack.dragonfly.start()
    backend = Backend(stack.dragonfly, queue)
    yield backend
    stack.dragonfly.start()
    backend.close()


class TestEnqueue(EnqueueContract, lacks={}):
    pass


class TestDelay(DelayContract, lacks={}):
    pass


class TestConsume(ConsumeContract, lacks={}):
    pass


class TestSettle(SettleContract, lacks={}):
    pass


class TestWork(WorkContract, lacks={}):
    pass


class TestApplication(ApplicationContract):
    pass
