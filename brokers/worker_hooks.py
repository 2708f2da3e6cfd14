"""What the broker adds to every worker, as middleware of its own."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, cast

from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from brokers.batch_runs import work_on
from brokers.batching import ACTOR_OPTIONS, Batching, singly
from brokers.delivery import Delivery, delivery_of, note_worker, set_current
from brokers.priorities import OPTION

#: How often threads are woken to end.
WAKE_S = 0.05


class WorkerHooks(Middleware):
    """Notes each thread's delivery, keeps threads alive, and shortens their ways.

    Args:
        give_back: Has a message delivered again that nobody settled.
        batching: Knows the batched actors.
    """

    def __init__(
        self, give_back: Callable[[Delivery], None], batching: Batching
    ) -> None:
        self._give_back = give_back
        self._batched = batching.rules

    @property
    def actor_options(self) -> set[str]:
        """Return the options that the broker itself understands."""
        return {*ACTOR_OPTIONS, OPTION, "dead_message_ttl"}

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Replace the work queue before any thread has seen it."""
        worker.work_queue = cast("Any", WorkQueue())

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Wake the threads until they have ended."""
        threading.Thread(target=_wake_until_ended, args=(worker,), daemon=True).start()

    def after_consumer_thread_boot(self, broker: Broker, thread: Any) -> None:
        """Spare each message a search among delayed ones, which the server keeps."""
        search = thread.handle_delayed_messages

        def handle_delayed_messages() -> None:
            if thread.delay_queue.queue:
                search()

        thread.handle_delayed_messages = handle_delayed_messages

    def after_worker_thread_boot(self, broker: Broker, thread: Any) -> None:
        """Keep a thread alive when something is raised outside its actor.

        Dramatiq's thread would end for good, and its message stay unsettled until
        the process ends.
        """
        note_worker()
        process, batched = thread.process_message, self._batched

        def process_message(message: MessageProxy) -> None:
            delivery = delivery_of(message)
            if delivery is not None:
                delivery.touch()
            set_current(delivery)
            try:
                if batched and message.actor_name in batched:
                    work_on(thread, message)
                else:
                    process(message)
            # Interrupts arrive anywhere.
            except BaseException:
                broker.logger.critical("Raised outside of an actor.", exc_info=True)
                for one in singly([message]):
                    if found := delivery_of(one):
                        self._give_back(found)
            finally:
                set_current(None)

        thread.process_message = process_message


def _wake_until_ended(worker: Worker) -> None:
    queue = cast("WorkQueue", worker.work_queue)
    while any(thread.is_alive() for thread in worker.workers):
        queue.wake(len(worker.workers))
        time.sleep(WAKE_S)


class WorkQueue:
    """Dramatiq's priority queue on the interpreter's atomic operations.

    `queue.PriorityQueue` wakes its waiting threads through a lock in Python: the
    faster messages come, the more time it takes for each. Order is by the items'
    priority, then by arrival.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Any]] = []
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.unfinished_tasks = 0

    def put(self, item: Any) -> None:
        """Add an item that has a `priority`, the lowest first."""
        with self._lock:
            self.unfinished_tasks += 1
        heapq.heappush(self._heap, (item.priority, next(self._numbers), item))
        self._tokens.put(None)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - the standard queue's signature
        """Return the next item.

        Raises:
            queue.Empty: There is none, or none came in time.
        """
        self._tokens.get(block, timeout)
        try:
            return heapq.heappop(self._heap)[2]
        except IndexError:
            # Somebody was only to be woken.
            raise Empty from None

    def wake(self, threads: int) -> None:
        """Have so many threads find nothing.

        A thread that was woken for an item which another one took may wait beyond its
        time-out in the interpreter's queue, until the next item comes.
        """
        for _ in range(threads):
            self._tokens.put(None)

    def get_nowait(self) -> Any:
        """Return the next item.

        Raises:
            queue.Empty: There is none.
        """
        return self.get(block=False)

    def task_done(self) -> None:
        """Count one item as finished."""
        with self._lock:
            self.unfinished_tasks -= 1

    def qsize(self) -> int:
        """Return how many items wait."""
        return len(self._heap)

    def join(self) -> None:
        """Return when all items are finished; only tests wait for that."""
        while self.unfinished_tasks:
            time.sleep(0.001)
