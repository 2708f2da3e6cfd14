"""Dramatiq's RedisBroker under the contract, on Valkey."""

import uuid

import pytest
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
        broker.do_enqueue(self.queue, uuid.uuid4().hex, body)

    def size(self, broker, queue=None):
        # Its own count has messages in flight twice.
        return sum(
            broker.client.hlen(f"{self._namespace}:{name}.msgs")
            for name in (queue or self.queue, dq_name(queue or self.queue))
        )

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


class TestEnqueue(
    EnqueueContract,
    lacks={
        "test_without_a_server_enqueue_says_so": "It raises the Redis client's error.",
        "test_a_message_gets_no_options_on_its_way": OWN_ID,
    },
):
    pass


class TestDelay(
    DelayContract,
    lacks={
        "test_the_far_future_is_in_nobodys_way": "A worker holds delayed messages.",
        "test_a_delay_leaves_no_trace": OWN_ID,
    },
):
    pass


class TestConsume(
    ConsumeContract,
    lacks={
        "test_a_message_wakes_who_waits": "It looks again and again.",
        "test_a_new_consumer_knows_what_is_in_hand": "Each counts for itself.",
        "test_a_message_belongs_to_where_it_came_from": "The thread dies of it.",
        "test_what_cannot_be_decoded_becomes_a_dead_letter": "It is raised.",
    },
):
    pass


class TestSettle(
    SettleContract,
    lacks={
        "test_closing_gives_back_what_nobody_took": "It waits for the lease's end.",
    },
):
    pass


class TestWork(
    WorkContract,
    lacks={
        "test_a_thread_survives_what_is_raised_outside_of_its_actor": "It dies.",
        "test_a_retry_that_cannot_be_stored_loses_nothing": "It is lost.",
    },
):
    pass


class TestApplication(ApplicationContract):
    pass
