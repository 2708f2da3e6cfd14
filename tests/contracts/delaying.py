"""How messages wait for their time."""

import time

import dramatiq

from tests.contracts.broker import Contract, until

MONTH_MS = 30 * 86_400_000


class DelayContract(Contract):
    """D1 to D5."""

    def noting(self, backend, broker):
        """Return the numbers and times that the actor `note` sees."""
        seen = []
        dramatiq.actor(
            lambda n: seen.append((n, time.time())),
            actor_name="note",
            queue_name=backend.queue,
            broker=broker,
        )
        return seen

    def test_a_delay_is_kept(self, backend, work, send):
        """Never short, and not much longer (D1, D3)."""
        broker = backend.broker()
        seen = self.noting(backend, broker)
        work(broker)
        sent = time.time()

        send(broker, 1, delay=700)

        until(lambda: seen)
        assert 0.7 <= seen[0][1] - sent < 5.0

    def test_a_delay_of_nothing_is_none(self, backend, work, send):
        """Ten at once are as quick as if they had none (D1, D5)."""
        broker = backend.broker()
        seen = self.noting(backend, broker)
        work(broker)
        sent = time.time()

        for n in range(10):
            send(broker, n, delay=0)

        until(lambda: len(seen) == 10)
        assert seen[-1][1] - sent < 3.0

    def test_a_month_is_taken(self, backend, send):
        """Retries may wait for a week (D1)."""
        broker = backend.broker()
        broker.declare_queue(backend.queue)

        send(broker, delay=MONTH_MS)

        assert backend.size(broker) == 1

    def test_a_delay_survives_server_and_worker(self, backend, work, send):
        """Neither's memory is where the message waits (D1)."""
        broker = backend.broker()
        seen = self.noting(backend, broker)
        worker, sent = work(broker), time.time()
        send(broker, 1, delay=1500)
        worker.stop()

        backend.stop()
        backend.start()

        other = backend.broker()
        later = self.noting(backend, other)
        work(other)
        until(lambda: later)
        assert not seen
        assert later[0][1] - sent >= 1.5

    def test_the_far_future_is_in_nobodys_way(self, backend, work, send):
        """More far messages than a worker can hold, and a near one (D2)."""
        broker = backend.broker()
        seen = self.noting(backend, broker)
        for n in range(20):
            send(broker, n, delay=MONTH_MS)

        work(broker, delay_prefetch=10)
        send(broker, 77, delay=200)

        until(lambda: [n for n, _ in seen] == [77], within_s=8)

    def test_a_delay_leaves_no_trace(self, backend, work, send):
        """What comes late is what was sent (D4)."""
        broker, seen = backend.broker(), []

        class Noting(dramatiq.Middleware):
            def before_process_message(self, broker, message):
                seen.append(message.asdict())

        broker.add_middleware(Noting())
        self.noting(backend, broker)
        work(broker)

        message = send(broker, 1, delay=100, some="option")

        until(lambda: seen)
        assert seen[0]["message_id"] == message.message_id
        assert seen[0]["queue_name"] == backend.queue
        assert seen[0]["options"] == {"some": "option"}
