"""Answers to what was sent, found by the subject that they come to."""

import itertools
import secrets
import threading
from collections.abc import Callable

from brokers.wire import Incoming

#: Gets what follows the reply subject and a dot, and the message.
ReplyHandler = Callable[[str, Incoming], None]


class Replies:
    """One inbox for all answers, and who waits for which.

    Attributes:
        inbox: What all reply subjects begin with.
    """

    def __init__(self) -> None:
        self.inbox = f"_INBOX.{secrets.token_hex(11)}."
        self._keys = itertools.count(1)
        self._handlers: dict[str, ReplyHandler] = {}
        self._waiting: dict[str, Answer] = {}

    def add(self, handler: ReplyHandler) -> str:
        """Return a fresh reply subject."""
        key = f"{next(self._keys):x}"
        self._handlers[key] = handler
        return self.inbox + key

    def forget(self, reply: str) -> None:
        """Drop whatever comes to the reply subject from now on."""
        self._handlers.pop(reply[len(self.inbox) :], None)

    def take(self, message: Incoming) -> None:
        """Hand an answer to whoever waits for it."""
        key, _, rest = message.subject[len(self.inbox) :].partition(".")
        if handler := self._handlers.get(key):
            handler(rest, message)

    def exchange(
        self, send: Callable[[str], None], timeout_s: float
    ) -> Incoming | None:
        """Return the one answer to what is sent; none where none comes in time.

        Args:
            send: Sends with this reply subject.
            timeout_s: How long to wait.
        """
        answer = Answer()
        reply = self.add(answer.take)
        self._waiting[reply] = answer
        try:
            send(reply)
            return answer.wait(timeout_s)
        finally:
            self.forget(reply)
            self._waiting.pop(reply, None)

    def give_up(self) -> None:
        """Have nobody wait any more: answers went to a connection that broke."""
        for answer in list(self._waiting.values()):
            answer.give_up()


class Answer:
    """An answer, and a thread that waits for it."""

    __slots__ = ("_message", "_over")

    def __init__(self) -> None:
        self._message: Incoming | None = None
        self._over = threading.Lock()
        self._over.acquire()

    def take(self, _: str, message: Incoming) -> None:
        """Take it; only the first one counts."""
        if self._message is None:
            self._message = message
            self.give_up()

    def give_up(self) -> None:
        """Wait no more."""
        if self._over.locked():
            self._over.release()

    def wait(self, timeout_s: float) -> Incoming | None:
        """Return the answer; none where there is none in time, or will be none."""
        self._over.acquire(timeout=timeout_s)
        return self._message
