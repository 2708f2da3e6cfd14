"""What becomes of a message that somebody has."""

import os
import threading

import dramatiq
import pytest
from dramatiq.middleware import Retries

from tests.contracts.broker import Contract, job, taken, until


class SettleContract(Contract):
    """A1 to A4, H1 and H2."""

    @pytest.fixture
    def consuming(self, backend):
        """Return a consumer of another broker; it is closed with the test."""
        made = []

        def consume(broker, *, prefetch=4):
            broker.declare_queue(backend.queue)
            made.append(
                broker.consume(queue_name=backend.queue, prefetch=prefetch, timeout=100)
            )
            return made[-1]

        yield consume
        for consumer in made:
            consumer.close()

    def test_an_acked_message_is_gone(self, backend, consuming, send):
        """Also where another thread acks it (A1)."""
        broker = backend.broker()
        consumer = consuming(broker)
        send(broker)
        [message] = taken(consumer)

        thread = threading.Thread(target=consumer.ack, args=(message,))
        thread.start()
        thread.join()

        until(lambda: backend.size(broker) == 0)

    def test_a_second_ack_is_harmless(self, backend, consuming, send):
        """Dramatiq acks again after an error of the connection (A1)."""
        broker = backend.broker()
        consumer = consuming(broker)
        send(broker, 1)
        send(broker, 2)
        [message] = taken(consumer)

        consumer.ack(message)
        consumer.ack(message)

        assert taken(consumer)[0].args == (2,)
        assert backend.size(broker) == 1

    def test_a_new_consumer_acks_an_older_ones_message(self, backend, consuming, send):
        """Which is what Dramatiq does after it made a new one (A1, A4)."""
        broker = backend.broker()
        old = consuming(broker)
        send(broker)
        [message] = taken(old)
        old.close()

        consuming(broker).ack(message)

        until(lambda: backend.size(broker) == 0)

    def test_an_ack_after_closing_is_harmless(self, backend, consuming, send):
        """A thread may outlive its worker's patience (A1, S1)."""
        broker = backend.broker()
        consumer = consuming(broker)
        send(broker)
        [message] = taken(consumer)

        broker.close()
        consumer.ack(message)

    def test_an_ack_after_a_flush_is_harmless(self, backend, consuming, send):
        """What was dropped needs no settling (A1, F1)."""
        broker = backend.broker()
        consumer = consuming(broker)
        send(broker, 1)
        [message] = taken(consumer)

        broker.flush(backend.queue)
        consumer.ack(message)
        send(broker, 2)

        assert taken(consumer)[0].args == (2,)
        assert backend.size(broker) == 1

    def test_a_nacked_message_becomes_a_dead_letter(self, backend, consuming, send):
        """With all that it had, and off its queue; once (A2)."""
        broker = backend.broker()
        consumer = consuming(broker)
        sent = send(broker, 7, some="option")
        [message] = taken(consumer)

        consumer.nack(message)

        until(lambda: backend.size(broker) == 0)
        assert backend.letters(broker) == [sent]

    def test_a_second_nack_is_harmless(self, backend, consuming, send):
        """There is one letter (A2)."""
        broker = backend.broker()
        consumer = consuming(broker)
        send(broker)
        [message] = taken(consumer)

        consumer.nack(message)
        consumer.nack(message)

        until(lambda: backend.size(broker) == 0)
        assert len(backend.letters(broker)) == 1

    def test_a_message_without_an_actor_becomes_a_dead_letter(self, backend, work):
        """The worker nacks it; those behind it are served (A2)."""
        broker, runs = backend.broker(), []
        dramatiq.actor(
            runs.append, actor_name="note", queue_name=backend.queue, broker=broker
        )
        work(broker)

        broker.enqueue(job(backend.queue, actor="nobody"))
        broker.enqueue(job(backend.queue, 1))

        until(lambda: runs == [1])
        until(lambda: backend.size(broker) == 0)
        assert [one.actor_name for one in backend.letters(broker)] == ["nobody"]

    def test_a_failed_message_becomes_a_dead_letter(self, backend, work, send):
        """After its retries (A2)."""
        broker = backend.broker(Retries(max_retries=1, min_backoff=1, max_backoff=1))
        runs = []

        @dramatiq.actor(actor_name="note", queue_name=backend.queue, broker=broker)
        def note(n):
            runs.append(n)
            raise ValueError("It does not work.")

        work(broker)
        sent = send(broker, 7)

        until(lambda: backend.dead(broker) == 1)
        [letter] = backend.letters(broker)
        assert runs == [7, 7]
        assert (letter.message_id, letter.args) == (sent.message_id, (7,))

    def test_what_is_given_back_is_there_at_once(self, backend, consuming, send):
        """Requeue takes any iterable, and keeps nothing (A3)."""
        broker = backend.broker()
        other = backend.peer(broker)
        consumer = consuming(broker)
        for n in range(3):
            send(broker, n)
        messages = taken(consumer, 3)

        consumer.requeue(message for message in messages[:2])
        consumer.close()

        again = taken(consuming(other), 2, within_s=5)
        assert sorted(message.args[0] for message in again) == [0, 1]
        assert backend.size(broker) == 3

    def test_a_stopped_worker_gives_back_what_it_has_not_begun(
        self, backend, consuming, work, send
    ):
        """And finishes what it has begun (A3)."""
        broker, began = backend.broker(), []
        other = backend.peer(broker)

        @dramatiq.actor(actor_name="note", queue_name=backend.queue, broker=broker)
        def note(n):
            began.append(n)
            threading.Event().wait(0.4)

        worker = work(broker, threads=1)
        for n in range(3):
            send(broker, n)
        until(lambda: began)

        worker.stop()

        left = set(range(3)) - set(began)
        assert backend.size(other) == len(left) > 0
        again = taken(consuming(other), len(left), within_s=5)
        assert {message.args[0] for message in again} == left

    def test_closing_gives_back_what_nobody_took(self, backend, consuming, send):
        """What the consumer holds for itself is there for others at once (A4)."""
        broker = backend.broker()
        other = backend.peer(broker)
        for n in range(8):
            send(broker, n)
        consumer = consuming(broker, prefetch=8)
        [taken_one] = taken(consumer)

        consumer.close()
        consumer.close()

        again = taken(consuming(other, prefetch=8), 7, within_s=5)
        assert taken_one.args[0] not in {message.args[0] for message in again}

    def test_a_living_workers_messages_come_to_nobody_else(self, backend, work, send):
        """Neither the long job nor those behind it (H1)."""
        runs, brokers = [], [backend.broker(lease_ms=1000) for _ in range(2)]
        for broker in brokers:

            @dramatiq.actor(actor_name="note", queue_name=backend.queue, broker=broker)
            def note(n):
                runs.append(n)
                threading.Event().wait(1.6)

        for n in range(4):
            send(brokers[0], n)
        for broker in brokers:
            work(broker, threads=1)

        brokers[0].join(backend.queue, timeout=15_000)
        assert sorted(runs) == [0, 1, 2, 3]

    def test_a_worker_keeps_its_message_while_it_stops(self, backend, work, send):
        """A job may take longer than the lease, also then (H1)."""
        runs = []
        first, second = (backend.broker(lease_ms=1000) for _ in range(2))
        for broker, wait_s in ((first, 2.5), (second, 0)):

            @dramatiq.actor(actor_name="note", queue_name=backend.queue, broker=broker)
            def note(n, wait_s=wait_s):
                runs.append(n)
                threading.Event().wait(wait_s)

        worker = work(first, threads=1)
        send(first, 1)
        until(lambda: runs)

        work(second)
        worker.stop()

        second.join(backend.queue, timeout=5000)
        assert runs == [1]

    def test_a_dead_workers_messages_come_back(self, backend, work, send):
        """What it worked on, and what it only had (H2)."""
        broker = backend.broker(lease_ms=1000)
        broker.declare_queue(backend.queue)
        for n in range(3):
            send(broker, n)
        child = os.fork()
        if not child:
            try:
                mortal = backend.broker(lease_ms=1000)
                mortal.declare_queue(backend.queue)
                taken(mortal.consume(queue_name=backend.queue, prefetch=3, timeout=100))
            finally:
                os._exit(0)
        os.waitpid(child, 0)

        runs = []
        dramatiq.actor(
            runs.append, actor_name="note", queue_name=backend.queue, broker=broker
        )
        work(broker)

        until(lambda: sorted(runs) == [0, 1, 2])
