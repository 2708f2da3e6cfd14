"""One request and its answers; one subject and who waits for it.

The thread that asks waits on a queue of its own, so that many threads ask at once.
"""

import json
from queue import Empty, SimpleQueue

from brokers.link import Link
from brokers.wire import Incoming

#: Without an answer for this long a request is taken for lost.
SILENCE_S = 2.0


class Exchange:
    """One request and what is answered; the thread that made it waits."""

    def __init__(
        self, link: Link, subject: str, payload: bytes, headers: dict[str, str] | None
    ) -> None:
        self._link = link
        self._request = (subject, payload, headers)
        self._answers: SimpleQueue[Incoming] = SimpleQueue()
        link.call(self._begin)

    def answers(self, *, several: bool) -> list[Incoming]:
        """Return the answer, or all up to the last; nothing when they do not come."""
        found: list[Incoming] = []
        try:
            while True:
                found.append(self._answers.get(timeout=SILENCE_S))
                if not several or found[-1].status:
                    return found
        except Empty:
            return []
        finally:
            self._link.call(self._end)

    def _begin(self) -> None:
        subject, payload, headers = self._request
        self._reply = self._link.on_replies(self._take)
        self._link.send(subject, payload, self._reply, headers)

    def _take(self, _: str, message: Incoming) -> None:
        self._answers.put(message)

    def _end(self) -> None:
        self._link.forget(self._reply)


class Waiter:
    """Hears what is told of a key, and that the connection came back."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._heard: SimpleQueue[Incoming | None] = SimpleQueue()
        link.watch(self)

    def take(self, message: Incoming) -> None:
        """Hear a message."""
        self._heard.put(message)

    def on_connected(self) -> None:
        """Wake up: something may have been told meanwhile."""
        self._heard.put(None)

    def on_disconnected(self) -> None:
        """Nothing to do before the server is back."""

    def on_tick(self) -> None:
        """Nothing to do: the waiting thread looks at the time."""

    def message(self, timeout_s: float) -> Incoming | None:
        """Return what was told within the time; none where one must look again."""
        try:
            return self._heard.get(timeout=timeout_s)
        except Empty:
            return None

    def end(self, name: str) -> None:
        """Hear no more; called on the loop."""
        self._link.unwatch(self)
        self._link.spawn(self._link.unlisten(name))


def is_to_repeat(answer: Incoming) -> bool:
    """Tell whether there was nobody to answer, or too much to do."""
    if status := answer.status:
        return status == "503"
    if answer.headers or b'"error":{' not in answer.data[:200]:
        return False
    error = json.loads(answer.data).get("error") or {}
    return error.get("code") in (429, 503)
