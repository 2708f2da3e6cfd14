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


class InFlight:
    """The messages in our hands, by queue."""

    def __init__(self, link: Link, ack_wait_s: float) -> None:
        self._link = link
        self._every_s = ack_wait_s / BEATS
        self._held: defaultdict[str, dict[str, Delivery]] = defaultdict(dict)
        self._on_free: dict[str, Callable[[], None]] = {}
        link.call(self._beat)

    def held(self, queue: str) -> int:
        """Return how many messages of the queue are not settled."""
        return len(self._held[queue])

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
            delivery.settled = True
            self._link.call(self._settle, delivery, verdict)

    def _settle(self, delivery: Delivery, verdict: bytes | None) -> None:
        held = self._held[delivery.queue]
        if held.get(delivery.identity) is delivery:
            del held[delivery.identity]
        if verdict is not None:
            self._link.send(delivery.reply, verdict)
        if on_free := self._on_free.get(delivery.queue):
            on_free()

    def _beat(self) -> None:
        now = time.monotonic()
        for held in self._held.values():
            for delivery in held.values():
                if delivery.is_alive(now):
                    self._link.send(delivery.reply, b"+WPI")
        self._link.loop.call_later(self._every_s, self._beat)
