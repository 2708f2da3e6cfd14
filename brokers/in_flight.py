"""Which messages are in our hands, and the heartbeats that keep them ours.

Kept by the broker and not by its consumers: a consumer may be closed while its
messages are still worked on. All of it lives on the loop's thread.
"""

import time
from collections import defaultdict
from collections.abc import Callable

from brokers.delivery import Delivery
from brokers.link import Link

#: Heartbeats in one ack wait.
BEATS = 3
#: What is worked off in this time is fetched ahead of its turn, but no more than this.
SPAN_S = 0.05
MOST_AHEAD = 2_000


class InFlight:
    """The messages in our hands, by queue."""

    def __init__(self, link: Link, ack_wait_s: float) -> None:
        self._link = link
        self._every_s = ack_wait_s / BEATS
        self._held: defaultdict[str, dict[str, Delivery]] = defaultdict(dict)
        self._on_free: dict[str, Callable[[], None]] = {}
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)
        link.call(self._beat)

    def held(self, queue: str) -> int:
        """Return how many messages of the queue are not settled."""
        return len(self._held[queue])

    def ahead(self, queue: str) -> int:
        """Return how many messages of the queue are worked off in no time."""
        return self._paces[queue].ahead(time.monotonic())

    def when_free(self, queue: str, callback: Callable[[], None]) -> None:
        """Call back whenever a message of the queue was settled."""
        self._on_free[queue] = callback

    def take(
        self, queue: str, reply: str, patience_s: float | None
    ) -> tuple[Delivery, bool]:
        """Take in a message; tell whether it is new to us.

        A message that we still work on may come again, after the server or its
        consumer was restarted. It is not worked on twice: from now on the new reply
        subject settles it.
        """
        delivery = Delivery(queue, reply, patience_s)
        held = self._held[queue]
        known = held.get(delivery.identity)
        if known is not None and known.is_alive(time.monotonic()):
            known.reply, known.deliveries = reply, delivery.deliveries
            return delivery, False
        held[delivery.identity] = delivery
        return delivery, True

    def settle(self, delivery: Delivery, verdict: bytes | None) -> None:
        """Settle a message from any thread; a second time does nothing.

        The verdict is the payload for the server; none tells it nothing.
        """
        if not delivery.settled:
            # In this order: an interrupt in between leaves it to be settled again.
            self._link.call(self._settle, delivery, verdict)
            delivery.settled = True

    def _settle(self, delivery: Delivery, verdict: bytes | None) -> None:
        held = self._held[delivery.queue]
        if held.get(delivery.identity) is delivery:
            del held[delivery.identity]
        self._paces[delivery.queue].settled += 1
        if verdict is not None:
            self._link.send(delivery.reply, verdict)
        if on_free := self._on_free.get(delivery.queue):
            self._link.at_end(on_free)

    def _beat(self) -> None:
        now = time.monotonic()
        # What is written while there is no server would only pile up.
        beaten = self._held.values() if self._link.is_online else ()
        for held in beaten:
            for delivery in held.values():
                if delivery.is_alive(now):
                    self._link.send(delivery.reply, b"+WPI")
        self._link.loop.call_later(self._every_s, self._beat)


class Pace:
    """How fast a queue's messages are settled.

    Attributes:
        settled: How many were so in the current span of `SPAN_S`.
    """

    __slots__ = ("_ahead", "_began_at", "settled")

    def __init__(self) -> None:
        self.settled = 0
        self._ahead = 0
        self._began_at = 0.0

    def ahead(self, now: float) -> int:
        """Return how many were settled in the last span, at most `MOST_AHEAD`."""
        spans = (now - self._began_at) / SPAN_S
        if spans >= 1:
            self._ahead = min(MOST_AHEAD, int(self.settled / spans))
            self._began_at, self.settled = now, 0
        return self._ahead
