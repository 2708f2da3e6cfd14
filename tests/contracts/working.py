"""Whole workers: waiting for them, emptying their queues, interrupting them."""

import contextlib
import ctypes
import threading
import time

import dramatiq
import pytest
from dramatiq.errors import QueueJoinTimeout
from dramatiq.middleware import Interrupt, Middleware, Retries, TimeLimitExceeded

from tests.contracts.broker import Contract, job, taken, until


class WorkContract(Contract):
    """F1, F2, J1 and S1 to S4."""

    def test_flush_drops_what_is_ready_and_what_waits(self, backend, work, send):
        """Running consumers go on (F1)."""
        broker, runs = backend.broker(), []
        broker.declare_queue(backend.queue)
        for n in range(3):
            send(broker, n)
            send(broker, n, delay=60_000)

        broker.flush(backend.queue)

        assert backend.size(broker) == 0
        dramatiq.actor(
            runs.append, actor_name="note", queue_name=backend.queue, broker=broker
        )
        work(broker)
        send(broker, 1)
        until(lambda: runs == [1])
        broker.flush(backend.queue)
        send(broker, 2)
        until(lambda: runs == [1, 2])

    def test_flush_all_empties_all_declared_queues(self, backend):
        """And their dead letters (F2)."""
        broker = backend.broker()
        names = [backend.queue, f"{backend.queue}.b"]
        for name in names:
            broker.declare_queue(name)
            broker.enqueue(job(name))
            broker.enqueue(job(name), delay=60_000)

        broker.flush_all()

        assert [backend.size(broker, name) for name in names] == [0, 0]

    def test_join_waits_for_all_that_there_is(self, backend, work, send):
        """Ready, in flight, delayed, and whatever they send (J1)."""
        broker, runs = backend.broker(), []

        @dramatiq.actor(actor_name="note", queue_name=backend.queue, broker=broker)
        def note(n):
            runs.append(n)
            if n:
                # The next one is stored before this one is settled.
                send(broker, n - 1, delay=n % 3 * 40)

        work(broker)
        for _ in range(3):
            send(broker, 6)
            broker.join(backend.queue, timeout=20_000)
            assert runs[-1] == 0
            assert backend.size(broker) == 0

        assert len(runs) == 21

    def test_join_tells_when_it_does_not_end(self, backend, send):
        """After its time, in milliseconds (J1)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)
        send(broker)

        with pytest.raises(QueueJoinTimeout):
            broker.join(backend.queue, timeout=50)

    def test_join_does_not_wait_for_other_queues(self, backend, work, send):
        """However busy they are (J1)."""
        broker, over = backend.broker(), threading.Event()
        broker.declare_queue(backend.queue)
        other = f"{backend.queue}.other"
        broker.declare_queue(other)

        def flood():
            while not over.is_set():
                broker.enqueue(job(other))

        threads = [threading.Thread(target=flood) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for n in range(3):
                send(broker, n)
                consumer = broker.consume(backend.queue, prefetch=1, timeout=5000)
                consumer.ack(*taken(consumer))
                consumer.close()
                broker.join(backend.queue, timeout=20_000)
        finally:
            over.set()
            for thread in threads:
                thread.join()

        assert backend.size(broker, other)

    def test_a_broker_may_be_closed_twice(self, backend, send):
        """The second time nothing happens (S1)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)
        send(broker)

        broker.close()
        broker.close()

        assert backend.size(backend.peer(broker)) == 1

    def test_what_was_acked_before_closing_is_acked(self, backend, send):
        """Closing writes what waits to be written (S1, A4)."""
        broker = backend.broker()
        other = backend.peer(broker)
        broker.declare_queue(backend.queue)
        for n in range(50):
            send(broker, n)
        consumer = broker.consume(queue_name=backend.queue, prefetch=50, timeout=2000)

        for _ in range(50):
            consumer.ack(next(consumer))
        consumer.close()
        broker.close()

        assert backend.size(other) == 0

    # One that arrives between two rounds ends the test's own thread. Under so many
    # interrupts the interpreter itself (3.11) has come to a near standstill, all its
    # threads passing its lock around: not to be met by who only wants all tests run.
    @pytest.mark.load
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_an_interrupt_inside_of_enqueue_breaks_nothing(self, backend, send):
        """Time limits and shutdowns are raised anywhere (S3)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)
        send(broker)
        over = threading.Event()

        def enqueue():
            while not over.is_set():
                with contextlib.suppress(Interrupt):
                    while not over.is_set():
                        send(broker)
                        # An event's own wait does not survive being interrupted.
                        time.sleep(0.0005)

        threads = [threading.Thread(target=enqueue) for _ in range(4)]
        for thread in threads:
            thread.start()
        for n in range(150):
            raise_in(threads[n % 4], TimeLimitExceeded)
            threading.Event().wait(n * 7 % 60 / 10_000)
        over.set()
        for thread in threads:
            thread.join(10)

        assert not any(thread.is_alive() for thread in threads)
        before = backend.size(broker)
        for _ in range(20):
            send(broker)
        assert backend.size(broker) == before + 20

    def test_a_thread_survives_what_is_raised_outside_of_its_actor(
        self, backend, work, send
    ):
        """Else after a few late time limits a worker works no more (S4)."""

        class Striking(Middleware):
            def after_process_message(self, broker, message, **_):
                if message.options.get("strike"):
                    raise TimeLimitExceeded

        broker, runs = backend.broker(Striking()), []
        dramatiq.actor(
            runs.append, actor_name="note", queue_name=backend.queue, broker=broker
        )
        worker = work(broker, threads=2)

        for n in range(3):
            send(broker, n, strike=True)
        send(broker, 3)

        until(lambda: set(runs) == {0, 1, 2, 3})
        assert all(thread.is_alive() for thread in worker.workers)

    def test_a_retry_that_cannot_be_stored_loses_nothing(self, backend, work, send):
        """Dramatiq logs the retry's error and acks the message (S2)."""
        broker = backend.broker(Retries(max_retries=3, min_backoff=1, max_backoff=1))
        runs = []

        @dramatiq.actor(actor_name="note", queue_name=backend.queue, broker=broker)
        def note(n):
            runs.append(n)
            if len(runs) == 1:
                backend.stop()
                raise ValueError

        class Noting(Middleware):
            def after_process_message(self, *_, **__):
                over.set()

        over = threading.Event()
        broker.add_middleware(Noting(), before=Retries)
        work(broker)
        send(broker, 1)
        assert over.wait(30)

        backend.start()

        until(lambda: len(runs) == 2)
        broker.join(backend.queue, timeout=10_000)


def raise_in(thread, kind):
    """Raise an exception in another thread, as Dramatiq's time limits do."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(kind)
    )
