"""Working on a batch: its actor is called once, everything else is done by message.

What Dramatiq's thread does around an actor is done here around a list of messages,
with the same hooks in the same order for each of them: first all that comes before,
then the actor, then for each message what comes after it and its settling.
"""

from typing import Any, NoReturn

from dramatiq.broker import MessageProxy
from dramatiq.errors import RateLimitExceeded, Retry
from dramatiq.middleware import SkipMessage
from dramatiq.worker import WorkerThread

from brokers.batching import BatchedMessage, singly
from brokers.delivery import delivery_of, set_current


def work_on(thread: WorkerThread, item: MessageProxy) -> None:
    """Do on this thread what is to be done with a batch, or with one message of it."""
    try:
        _Run(thread, [BatchedMessage(one) for one in singly([item])]).go()
    finally:
        thread.work_queue.task_done()


class _Run:
    """One batch on one thread."""

    def __init__(self, thread: WorkerThread, batch: list[BatchedMessage]) -> None:
        self._consumers = thread.consumers
        self._broker = thread.broker
        self._actor = thread.broker.get_actor(batch[0].message.actor_name)
        self._batch = batch
        # By identity: each error, and its traceback before it was raised again.
        self._errors: dict[int, tuple[BaseException, Any]] = {}

    def go(self) -> None:
        """Process the messages."""
        for one in self._batch:
            self._begin(one)
        # An actor of many messages has no current one.
        set_current(None)
        if accepted := [one for one in self._batch if self._is_accepted(one)]:
            self._call(accepted)
        try:
            # The last one first: so hooks that set and reset something are nested.
            for one in reversed(self._batch):
                self._conclude(one)
        finally:
            # Else the errors keep the messages, and the messages the errors.
            self._errors.clear()

    def _begin(self, one: BatchedMessage) -> None:
        delivery = delivery_of(one.message)
        if delivery is not None:
            delivery.touch()
        set_current(delivery)
        try:
            self._broker.emit_before("process_message", one.message)
        # As on Dramatiq's own thread: whatever stops a message is its failure. What
        # follows from it is done after the actor, because hooks (of a time limit,
        # say) would take it for the end of the thread's work.
        except BaseException as error:
            one.fail(error)

    @staticmethod
    def _is_accepted(one: BatchedMessage) -> bool:
        return not (one.is_over or one.message.failed)

    def _call(self, accepted: list[BatchedMessage]) -> None:
        try:
            returned: Any = self._actor(accepted)
        # As above; an interrupt ends the whole batch.
        except BaseException as error:
            for one in accepted:
                if not one.is_over:
                    one.fail(error)
        else:
            if returned is not None:
                self._broker.logger.warning(
                    "What the batched actor %s returned is discarded; give each "
                    "message its result with `finish`.",
                    self._actor.actor_name,
                )

    def _conclude(self, one: BatchedMessage) -> None:
        message = one.message
        set_current(delivery_of(message))
        try:
            self._tell(one)
        finally:
            self._consumers[message.queue_name].post_process_message(message)
            message.clear_exception()
            one.error = None

    def _tell(self, one: BatchedMessage) -> None:
        broker, message = self._broker, one.message
        try:
            if one.error is not None:
                self._raise(one.error)
            broker.emit_after("process_message", message, result=one.result)
        except SkipMessage as error:
            if message.failed:
                message.stuff_exception(error)
            broker.logger.warning("Message %s was skipped.", message)
            broker.emit_after("skip_message", message)
        # As above.
        except BaseException as error:
            message.stuff_exception(error)
            broker.emit_after("process_message", message, exception=error)

    def _raise(self, error: BaseException) -> NoReturn:
        """Raise a message's error, because hooks ask the interpreter for it."""
        if id(error) not in self._errors:
            self._errors[id(error)] = (error, error.__traceback__)
            self._log(error)
        raise error.with_traceback(self._errors[id(error)][1])

    def _log(self, error: BaseException) -> None:
        """Log an error once, however many messages it failed."""
        throws = self._actor.options.get("throws")
        expected = isinstance(error, (RateLimitExceeded, Retry, SkipMessage))
        if expected or (throws and isinstance(error, throws)):
            self._broker.logger.debug("In actor %s: %s.", self._actor.actor_name, error)
        else:
            self._broker.logger.error(
                "Failed to process messages of %s with unhandled exception.",
                self._actor.actor_name,
                exc_info=error,
            )
