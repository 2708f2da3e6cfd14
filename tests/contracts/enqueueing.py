"""How messages get into a queue."""

import contextlib
import os
import threading

import dramatiq
import pytest
from dramatiq import PickleEncoder
from dramatiq.broker import MessageProxy
from dramatiq.errors import BrokerConnectionError, QueueNotFound
from dramatiq.middleware import Middleware, SkipMessage, default_middleware

from tests.contracts.broker import Contract, job, taken, until


class EnqueueContract(Contract):
    """E1 to E9, and M1."""

    def test_a_proxy_is_as_good_as_its_message(self, backend):
        """Dramatiq's retries enqueue the proxy that was received (E1)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)
        message = job(backend.queue, 7)

        broker.enqueue(MessageProxy(message))

        [received] = taken(broker.consume(queue_name=backend.queue))
        assert (received.message_id, received.args) == (message.message_id, (7,))

    def test_hooks_may_change_a_message(self, backend, send):
        """It is encoded after the first hooks, and stored before the last (E2)."""
        sizes = []

        class Marking(Middleware):
            def before_enqueue(self, broker, message, delay):
                message.options["mark"] = delay

            def after_enqueue(self, broker, message, delay):
                sizes.append(backend.size(broker))

        broker = backend.broker(Marking())
        broker.declare_queue(backend.queue)

        send(broker, delay=None)

        [received] = taken(broker.consume(queue_name=backend.queue))
        assert "mark" in received.options
        assert sizes == [1]

    def test_hooks_may_stop_a_message(self, backend, send):
        """A middleware's error goes up, and nothing is stored (E2)."""

        class Stopping(Middleware):
            def before_enqueue(self, broker, message, delay):
                raise SkipMessage

        broker = backend.broker(Stopping())
        broker.declare_queue(backend.queue)

        with pytest.raises(SkipMessage):
            send(broker)

        assert backend.size(broker) == 0

    def test_a_hook_that_errs_stops_nothing(self, backend, send):
        """Any other exception of a hook is logged (E2)."""

        class Erring(Middleware):
            def before_enqueue(self, broker, message, delay):
                raise RuntimeError

            def after_enqueue(self, broker, message, delay):
                raise RuntimeError

        broker = backend.broker(Erring())
        broker.declare_queue(backend.queue)

        send(broker)

        assert backend.size(broker) == 1

    def test_what_was_enqueued_outlives_its_sender_and_the_server(self, backend, send):
        """When enqueue returns the message is stored (E3)."""
        broker = backend.broker()
        send(broker)
        broker.close()

        backend.stop()
        backend.start()

        assert backend.size(backend.broker()) == 1

    def test_without_a_server_enqueue_says_so(self, backend):
        """It is an error that Dramatiq knows as one of the connection (E3)."""
        broker = backend.unreachable()

        with pytest.raises(BrokerConnectionError):
            broker.enqueue(job("default"))

    def test_the_same_message_comes_as_often_as_it_was_enqueued(
        self, backend, work, send
    ):
        """A retry has the id of its first try (E4)."""
        broker, runs = backend.broker(), []
        dramatiq.actor(
            runs.append, actor_name="note", queue_name=backend.queue, broker=broker
        )
        message = job(backend.queue)
        for _ in range(3):
            broker.enqueue(message)

        work(broker)

        until(lambda: len(runs) == 3)
        broker.join(backend.queue, timeout=5000)

    def test_the_body_is_the_encoders_affair(self, backend, work, send):
        """No part of a body is read but through the encoder (E5)."""
        before = dramatiq.get_encoder()
        dramatiq.set_encoder(PickleEncoder())
        try:
            broker, runs = backend.broker(), []
            dramatiq.actor(
                runs.append, actor_name="note", queue_name=backend.queue, broker=broker
            )
            send(broker, {1, 2})
            work(broker)
            until(lambda: runs == [{1, 2}])
        finally:
            dramatiq.set_encoder(before)

    def test_enqueue_returns_what_is_stored(self, backend, send):
        """What it returns equals what arrives (E6)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)

        returned = send(broker, 1, some="option")

        [received] = taken(broker.consume(queue_name=backend.queue))
        assert returned.asdict() == received.asdict()

    def test_a_message_gets_no_options_on_its_way(self, backend, send):
        """What arrives equals what was given (E6)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)
        message = job(backend.queue, some="option")

        broker.enqueue(message)

        [received] = taken(broker.consume(queue_name=backend.queue))
        assert received.options == {"some": "option"}

    def test_an_undeclared_queue_is_refused_or_made(self, backend):
        """Either is right, but the message must not vanish (E8)."""
        broker, stored = backend.broker(), 0

        with contextlib.suppress(QueueNotFound):
            broker.enqueue(job(backend.queue))
            stored = 1

        if stored:
            assert backend.size(broker) == 1

    def test_many_threads_enqueue_at_once(self, backend, send):
        """A broker belongs to no thread (E9)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)

        def many():
            for n in range(25):
                send(broker, n)

        threads = [threading.Thread(target=many) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert backend.size(broker) == 200

    def test_a_forked_child_enqueues_too(self, backend, send):
        """The parent's connection stays the parent's (E9, S1)."""
        broker = backend.broker()
        send(broker)

        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                send(broker)
                broker.close()
                os._exit(0)
            os._exit(1)

        assert os.waitpid(child, 0)[1] == 0
        send(broker)
        assert backend.size(broker) == 3

    def test_declaring_connects_nowhere(self, backend):
        """An application may be imported where there is no server (E9)."""
        before = threading.active_count()
        broker = backend.unreachable()

        @dramatiq.actor(broker=broker)
        def some():
            pass

        assert "default" in broker.get_declared_queues()
        assert threading.active_count() == before

    def test_without_a_list_there_is_dramatiqs_middleware(self, backend):
        """Swapping the broker changes nothing else (M1)."""
        kinds = [type(one) for one in backend.unreachable().middleware]

        assert [one for one in kinds if one in default_middleware] == default_middleware
