"""How messages come out of a queue."""

import threading
import time

import dramatiq
import pytest
from dramatiq.errors import BrokerConnectionError
from dramatiq.middleware import Middleware

from tests.contracts.broker import Contract, job, taken, until


class ConsumeContract(Contract):
    """Q1, Q2 and C1 to C6."""

    def test_a_queue_is_declared_once(self, backend):
        """A second time nothing is told to anybody (Q1)."""
        told = []

        class Listening(Middleware):
            def before_declare_queue(self, broker, queue_name):
                told.append(("before", queue_name))

            def after_declare_queue(self, broker, queue_name):
                told.append(("after", queue_name))

        broker = backend.broker(Listening())

        broker.declare_queue(backend.queue)
        broker.declare_queue(backend.queue)

        assert told == [("before", backend.queue), ("after", backend.queue)]
        broker.get_declared_queues().clear()
        assert backend.queue in broker.get_declared_queues()

    def test_only_plain_names_are_declared(self, backend):
        """Whatever a broker adds for itself is not a queue of the user's (Q1)."""
        broker = backend.broker()

        broker.declare_queue(backend.queue)

        assert set(broker.get_declared_queues()) == {backend.queue}

    def test_names_with_dots_are_names_of_their_own(self, backend):
        """A dot joins nothing (Q1)."""
        broker = backend.broker()
        names = [f"{backend.queue}{end}" for end in ("", ".b", "_b", ".b.c")]
        for name in names:
            broker.declare_queue(name)

        for name in names:
            broker.enqueue(job(name, name))

        for name in names:
            assert backend.size(broker, name) == 1
            [received] = taken(broker.consume(queue_name=name))
            assert received.args == (name,)

    def test_what_the_server_lost_is_made_again(self, backend, work, send):
        """For who consumes and for who enqueues (Q2)."""
        broker, runs = backend.broker(), []
        dramatiq.actor(
            runs.append, actor_name="note", queue_name=backend.queue, broker=broker
        )
        work(broker)
        send(broker, 1)
        until(lambda: runs == [1])

        backend.vanish(broker)

        send(broker, 2)
        until(lambda: runs == [1, 2])
        send(backend.peer(broker), 3)
        until(lambda: runs == [1, 2, 3])

    def test_consume_takes_dramatiqs_keywords(self, backend, send):
        """As the worker calls it (C1)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)
        send(broker)

        consumer = broker.consume(queue_name=backend.queue, prefetch=4, timeout=100)

        assert taken(consumer)
        consumer.close()

    def test_without_a_server_consuming_says_so(self, backend):
        """Then Dramatiq tries again after a while (C1)."""
        broker = backend.unreachable()
        broker.declare_queue(backend.queue)

        with pytest.raises(BrokerConnectionError):
            next(broker.consume(queue_name=backend.queue, prefetch=1, timeout=100))

    def test_none_comes_when_nothing_came(self, backend):
        """Not before there was time for a message, and not long after (C2)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)
        consumer = broker.consume(queue_name=backend.queue, prefetch=1, timeout=300)

        start = time.monotonic()

        assert next(consumer) is None
        assert time.monotonic() - start < 2.0

    def test_a_message_wakes_who_waits(self, backend, send):
        """Nobody has to look again and again (C2)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)
        consumer = broker.consume(queue_name=backend.queue, prefetch=2, timeout=5000)
        waits_s = []

        for _ in range(4):
            timer = threading.Timer(0.25, send, (broker, 0))
            timer.start()
            [message] = taken(consumer)
            waits_s.append(time.time() - message.message_timestamp / 1000)
            consumer.ack(message)

        # The timestamp has milliseconds; the best shows what the machine can do.
        assert min(waits_s) < 0.05

    def test_a_settled_message_makes_room_at_once(self, backend, send):
        """Who waits with its hands full is woken by an ack (C2, C3)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)
        send(broker, 1)
        send(broker, 2)
        consumer = broker.consume(queue_name=backend.queue, prefetch=1, timeout=5000)
        [first] = taken(consumer)

        start = time.monotonic()
        threading.Timer(0.2, consumer.ack, (first,)).start()

        assert taken(consumer)[0].args == (2,)
        assert time.monotonic() - start < 3.0

    def test_no_more_than_the_prefetch_is_in_hand(self, backend, send):
        """An ack and a nack each make room for one (C3)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)
        for n in range(6):
            send(broker, n)
        consumer = broker.consume(queue_name=backend.queue, prefetch=2, timeout=200)

        first, second = taken(consumer, 2)
        assert next(consumer) is None
        consumer.ack(first)
        taken(consumer)
        assert next(consumer) is None
        consumer.nack(second)
        taken(consumer)
        assert next(consumer) is None

    def test_a_new_consumer_knows_what_is_in_hand(self, backend, send):
        """Dramatiq makes one after an error, while the work goes on (C3)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)
        for n in range(4):
            send(broker, n)
        old = broker.consume(queue_name=backend.queue, prefetch=2, timeout=200)
        first, _ = taken(old, 2)
        old.close()

        new = broker.consume(queue_name=backend.queue, prefetch=2, timeout=200)

        assert next(new) is None
        new.ack(first)
        assert taken(new)[0].args == (2,)

    def test_the_first_comes_first(self, backend, send):
        """One after the other, as they were enqueued (C4)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)
        for n in range(50):
            send(broker, n)
        consumer = broker.consume(queue_name=backend.queue, prefetch=7, timeout=200)
        numbers = []

        for _ in range(50):
            [message] = taken(consumer)
            numbers.append(message.args[0])
            consumer.ack(message)

        assert numbers == list(range(50))

    def test_a_message_belongs_to_where_it_came_from(self, backend, work):
        """Whatever queue its body names; its thread would die of it (C5)."""
        broker, runs = backend.broker(), []
        dramatiq.actor(
            runs.append, actor_name="note", queue_name=backend.queue, broker=broker
        )
        for n in range(4):
            backend.put(broker, job("elsewhere", n).encode())

        work(broker)

        until(lambda: sorted(runs) == [0, 1, 2, 3])
        broker.join(backend.queue, timeout=5000)

    def test_what_cannot_be_decoded_becomes_a_dead_letter(self, backend, work, send):
        """Anybody may put bytes into a queue; the next message is served (C6, E5)."""
        broker, runs = backend.broker(), []
        dramatiq.actor(
            runs.append, actor_name="note", queue_name=backend.queue, broker=broker
        )
        nameless = job(backend.queue, actor=["note"]).encode()
        for body in (b"\xff", b"[]", b'{"args": 1}', nameless):
            backend.put(broker, body)

        work(broker)
        send(broker, 1)

        until(lambda: runs == [1])
        until(lambda: backend.dead(broker) == 4)
        broker.join(backend.queue, timeout=5000)
