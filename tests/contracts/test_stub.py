"""Dramatiq's StubBroker under the contract; it lives in its process's memory."""

import pytest
from dramatiq import Message
from dramatiq.brokers.stub import StubBroker
from dramatiq.common import dq_name

from tests.contracts.applying import ApplicationContract
from tests.contracts.consuming import ConsumeContract
from tests.contracts.delaying import DelayContract
from tests.contracts.enqueueing import EnqueueContract
from tests.contracts.settling import SettleContract
from tests.contracts.working import WorkContract

MEMORY = "Its queues are in its process's memory."


class Backend:
    def __init__(self, queue):
        self.queue = queue

    def broker(self, *middleware, lease_ms=60_000):
        broker = StubBroker(list(middleware), fail_fast_default=False)
        broker.declare_queue(self.queue)
        return broker

    def peer(self, broker):
        return broker

    def unreachable(self):
        return StubBroker()

    def put(self, broker, body):
        broker.queues[self.queue].put(body)

    def size(self, broker, queue=None):
        queue = queue or self.queue
        return sum(
            broker.queues[name].unfinished_tasks for name in (queue, dq_name(queue))
        )

    def letters(self, broker):
        return [Message(**m.asdict()) for m in broker.dead_letters_by_queue[self.queue]]

    def dead(self, broker):
        return len(broker.dead_letters_by_queue[self.queue])


@pytest.fixture
def backend(queue):
    return Backend(queue)


class TestEnqueue(
    EnqueueContract,
    lacks={
        "test_what_was_enqueued_outlives_its_sender_and_the_server": MEMORY,
        "test_without_a_server_enqueue_says_so": MEMORY,
        "test_a_forked_child_enqueues_too": MEMORY,
    },
):
    pass


class TestDelay(
    DelayContract,
    lacks={
        "test_a_delay_survives_server_and_worker": MEMORY,
        "test_the_far_future_is_in_nobodys_way": "A worker holds delayed messages.",
    },
):
    pass


class TestConsume(
    ConsumeContract,
    lacks={
        "test_only_plain_names_are_declared": "It declares its delay queues.",
        "test_what_the_server_lost_is_made_again": MEMORY,
        "test_without_a_server_consuming_says_so": MEMORY,
        "test_a_new_consumer_knows_what_is_in_hand": "Each counts for itself.",
        "test_a_message_belongs_to_where_it_came_from": "The thread dies of it.",
        "test_what_cannot_be_decoded_becomes_a_dead_letter": "It is raised.",
    },
):
    pass


class TestSettle(
    SettleContract,
    lacks={
        "test_a_second_ack_is_harmless": "It counts each ack.",
        "test_an_ack_after_a_flush_is_harmless": "It counts each ack.",
        "test_a_second_nack_is_harmless": "It counts each nack.",
        "test_what_is_given_back_is_there_at_once": MEMORY,
        "test_a_stopped_worker_gives_back_what_it_has_not_begun": MEMORY,
        "test_a_living_workers_messages_come_to_nobody_else": MEMORY,
        "test_a_worker_keeps_its_message_while_it_stops": MEMORY,
        "test_a_dead_workers_messages_come_back": MEMORY,
    },
):
    pass


class TestWork(
    WorkContract,
    lacks={
        "test_flush_drops_what_is_ready_and_what_waits": "Only what is ready.",
        "test_a_thread_survives_what_is_raised_outside_of_its_actor": "It dies.",
        "test_a_retry_that_cannot_be_stored_loses_nothing": MEMORY,
    },
):
    pass


class TestApplication(ApplicationContract):
    pass
