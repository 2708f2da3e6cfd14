"""Hearing at once that a tenant got a message, whoever published it.

A stream with tenants republishes the headers of what it stores under `wake.<stream>.`,
a few hundred bytes whatever the message's size. This is a hint and no more: what is not
heard is found by the ring's next look. Every worker hears of every message, so beyond
`MOST_PER_S` none listens for a while: a system that busy is not waiting for hints.
"""

from collections.abc import Callable, Iterable

from brokers.link import Link
from brokers.routes import Route
from brokers.wire import Incoming

#: A process that hears of more messages in a second stops listening …
MOST_PER_S = 1000
#: … for this long.
REST_S = 5


class Wakes:
    """Listens to what the streams of one route republish."""

    def __init__(
        self, link: Link, parts: Iterable[Route], heard: Callable[[str, str], None]
    ) -> None:
        """Listen to nothing yet.

        Args:
            link: The connection.
            parts: The route's part of each stream.
            heard: Gets the stream, and the subject that a message was stored under.
        """
        self._link = link
        self._subjects = [f"{wake_subject(part)}.>" for part in parts]
        self._heard = heard
        self._inboxes: list[str] = []
        self._count = 0
        self._rest = 0
        self._listening = False

    async def open(self) -> None:
        """Begin to listen."""
        self._listening = True
        for subject in self._subjects:
            self._inboxes.append(await self._link.listen(self._on_wake, subject))

    async def close(self) -> None:
        """Listen no more; a second time does nothing."""
        self._listening = False
        while self._inboxes:
            await self._link.unlisten(self._inboxes.pop())

    def on_tick(self) -> None:
        """Begin again to count, and to listen after a rest."""
        self._count = 0
        if self._rest:
            self._rest -= 1
            if not self._rest:
                self._link.spawn(self.open())

    def _on_wake(self, message: Incoming) -> None:
        if not self._listening:
            return
        self._count += 1
        if self._count > MOST_PER_S:
            self._rest = REST_S
            self._link.spawn(self.close())
            self._listening = False
            return
        _, stream, subject = message.subject.split(".", 2)
        self._heard(stream, subject)


def wake_subject(part: Route) -> str:
    """Return what the subjects of hints about a route's messages begin with."""
    tokens = ["wake", part.stream, *part.filter("{tenant}").split(".")]
    return ".".join(tokens[: tokens.index("{tenant}")])
