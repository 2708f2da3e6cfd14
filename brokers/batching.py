"""Batched actors: one call gets many messages, each with a fate of its own.

    @dramatiq.actor(batch_size=500, batch_wait_ms=200)
    def index(messages):
        answers = search.store([message.kwargs for message in messages])
        for message, answer in zip(messages, answers):
            if answer.error:
                message.fail(IndexingError(answer.error))

The messages are gathered between the consumer and the work queue, on the consumer's
thread; the batch is one item of work. `brokers.batch_runs` says what is done with it.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dramatiq.actor import Actor
from dramatiq.broker import MessageProxy

from brokers.consumer import JetStreamConsumer
from brokers.delivery import Delivery

#: For actors to take, through middleware.
ACTOR_OPTIONS = frozenset({"batch_size", "batch_wait_ms", "batch_key"})
#: How long a batch waits for more where its actor does not say.
WAIT_MS = 100
#: So many of its batches may be in our hands: one is worked on, one gathers.
BATCHES = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """How an actor's messages are gathered.

    Attributes:
        size: At most so many in one batch.
        wait_s: A batch becomes work so long after its first message, full or not;
            until a thread takes it, it goes on growing.
        key: Messages in one batch have the same value of this message option; none
            takes them as they come.
    """

    size: int
    wait_s: float
    key: str = ""


class Batching:
    """The batched actors of one broker."""

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}
        self._queues: dict[str, dict[str, Rule]] = {}

    @property
    def rules(self) -> Mapping[str, Rule]:
        """Return the rules by actor; always the same mapping."""
        return self._rules

    def note(self, actor: Actor[Any, Any]) -> None:
        """Take notice of an actor before its queue is consumed.

        Raises:
            ValueError: Its options make no sense.
        """
        rule = _rule(actor.actor_name, actor.options)
        if rule is not None:
            self._rules[actor.actor_name] = rule
            of_queue = self._queues.setdefault(actor.queue_name, {})
            of_queue[actor.actor_name] = rule

    def of_queue(self, queue: str) -> Mapping[str, Rule]:
        """Return the rules of the queue's batched actors, by actor."""
        return self._queues.get(queue, {})

    def places(self, queue: str) -> int:
        """Return how many messages must be in our hands for full batches."""
        return sum(BATCHES * rule.size for rule in self.of_queue(queue).values())


def _rule(name: str, options: Mapping[str, Any]) -> Rule | None:
    if "batch_size" not in options:
        if some := ACTOR_OPTIONS & options.keys():
            raise ValueError(f"Actor {name} has {', '.join(some)} but no batch_size.")
        return None
    size, wait_ms = options["batch_size"], options.get("batch_wait_ms", WAIT_MS)
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"Actor {name} needs a batch_size of 1 or more, not {size!r}.")
    if not isinstance(wait_ms, int | float) or wait_ms <= 0:
        raise ValueError(f"Actor {name} needs a batch_wait_ms over 0, not {wait_ms!r}.")
    return Rule(size, wait_ms / 1000, options.get("batch_key", ""))


class BatchedMessage:
    """One message of a batch, as its actor gets it.

    Attributes:
        message: Dramatiq's own view of it.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        options: Its options.
        is_over: Whether its fate is decided.
        error: Why it failed; none where it did not.
        result: What it resulted in.
    """

    __slots__ = (
        "args",
        "error",
        "is_over",
        "kwargs",
        "message",
        "options",
        "result",
    )

    def __init__(self, message: MessageProxy) -> None:
        self.message = message
        self.args: tuple[Any, ...] = message.args
        self.kwargs: dict[str, Any] = message.kwargs
        self.options: dict[str, Any] = message.options
        self.is_over = False
        self.error: BaseException | None = None
        self.result: Any = None

    def fail(self, error: BaseException) -> None:
        """Have this message fail as if an actor of its own had raised the error.

        It is retried, or becomes a dead letter, as middleware decides. The last word
        about a message counts.
        """
        self.is_over, self.error, self.result = True, error, None

    def finish(self, result: Any = None) -> None:
        """Note that this message is done, whatever the actor raises later.

        Only needed for a result, or where earlier messages must not be repeated when
        a later one fails.
        """
        self.is_over, self.error, self.result = True, None, result

    @property
    def message_id(self) -> str:
        """Return the message's id."""
        return self.message.message_id

    @property
    def delivery(self) -> Delivery:
        """Return its delivery, to postpone, leave or touch this message alone."""
        delivery: Delivery = self.message.delivery
        return delivery

    def __repr__(self) -> str:
        """Return its name for logs: what it carries is nobody's there."""
        return f"<{self.message.actor_name} {self.message_id}>"


class MessageBatch(MessageProxy):
    """Messages of one actor as one item of work; grows until a thread takes it.

    Attributes:
        size: At most so many messages.
        due: When it becomes work at the latest, on the monotonic clock.
        is_taken: Whether a thread has it, or it was given back.
    """

    def __init__(self, first: MessageProxy, size: int, due: float) -> None:
        super().__init__(first._message)  # noqa: SLF001 - a proxy of the same message
        self.size = size
        self.due = due
        self.options = {}
        self._messages = [first]
        self._lock = threading.Lock()
        self.is_taken = False

    def add(self, message: MessageProxy) -> bool:
        """Add a message, unless the batch is full or taken; tell whether it was."""
        with self._lock:
            if self.is_taken or self.is_full:
                return False
            self._messages.append(message)
            return True

    def take(self) -> list[MessageProxy]:
        """Return the messages, from now on always the same."""
        with self._lock:
            self.is_taken = True
            return self._messages

    @property
    def is_full(self) -> bool:
        """Tell whether no more messages may come in."""
        return len(self._messages) >= self.size

    def __str__(self) -> str:
        """Return its name for logs."""
        return f"{len(self._messages)} messages of {self.actor_name}"


def singly(messages: Iterable[MessageProxy]) -> Iterator[MessageProxy]:
    """Yield the messages, those of batches one by one."""
    for message in messages:
        if isinstance(message, MessageBatch):
            yield from message.take()
        else:
            yield message


class Gathering:
    """The batches of one queue that wait for more; lives on one thread.

    Args:
        rules: By actor; actors may come in later.
        limit: More messages than this are never in our hands.
    """

    def __init__(self, rules: Mapping[str, Rule], limit: int) -> None:
        self._rules = rules
        self._limit = limit
        # By actor, then by key. An actor's batches are due in the order of their
        # beginning, which is a dictionary's order.
        self._open: dict[str, dict[str, MessageBatch]] = {}
        # Those that became work before they were full.
        self._growing: dict[tuple[str, str], MessageBatch] = {}

    def add(self, message: MessageProxy) -> MessageProxy | None:
        """Return what is to be worked on now: the message, a full batch, or nothing."""
        rule = self._rules.get(message.actor_name)
        if rule is None or "eta" in message.options:
            return message
        key = str(message.options.get(rule.key)) if rule.key else ""
        place = (message.actor_name, key)
        if growing := self._growing.get(place):
            if growing.add(message):
                return None
            del self._growing[place]
        return self._added(message, key, rule)

    def _added(
        self, message: MessageProxy, key: str, rule: Rule
    ) -> MessageBatch | None:
        batches = self._open.setdefault(message.actor_name, {})
        batch = batches.get(key)
        if batch is None:
            size, due = min(rule.size, self._limit), time.monotonic() + rule.wait_s
            batch = batches[key] = MessageBatch(message, size, due)
        else:
            batch.add(message)
        return batches.pop(key) if batch.is_full else None

    def due(self, now: float) -> MessageBatch | None:
        """Return a batch that must not wait any longer."""
        self._forget_one_taken()
        for actor, batches in self._open.items():
            key = next(iter(batches), None)
            if key is not None and batches[key].due <= now:
                self._growing[actor, key] = batches[key]
                return batches.pop(key)
        return None

    def _forget_one_taken(self) -> None:
        """Look at one growing batch, each time at another: the keys may be many."""
        if place := next(iter(self._growing), None):
            batch = self._growing.pop(place)
            if not batch.is_taken:
                self._growing[place] = batch

    def next_due(self, otherwise: float) -> float:
        """Return when the next batch must begin."""
        firsts = (next(iter(some.values())) for some in self._open.values() if some)
        return min((batch.due for batch in firsts), default=otherwise)

    def take_all(self) -> list[MessageProxy]:
        """Return all messages that wait; none waits any more."""
        waiting, self._open = self._open, {}
        return list(singly(one for some in waiting.values() for one in some.values()))


class BatchingConsumer(JetStreamConsumer):
    """Iterates over the batches and single messages of a queue."""

    def __init__(self, *parts: Any, gathering: Gathering) -> None:
        super().__init__(*parts)
        self._idle_s = self._timeout_s
        self._gathering = gathering

    def __next__(self) -> MessageProxy | None:
        """Return the next batch or message, or none after the time-out."""
        end = time.monotonic() + self._idle_s
        while True:
            now = time.monotonic()
            if batch := self._gathering.due(now):
                return batch
            until = min(end, self._gathering.next_due(otherwise=end))
            self._timeout_s = max(0.0, until - now)
            message = super().__next__()
            ready = self._gathering.add(message) if message is not None else None
            if ready is not None or now >= end:
                return ready

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Give messages back, to be delivered again at once, and take no more."""
        super().requeue(singly(messages))

    def close(self) -> None:
        """Give back what nobody works on; a second time does nothing."""
        self.requeue(self._gathering.take_all())
        super().close()
