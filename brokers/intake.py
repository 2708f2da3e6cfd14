"""What a consumer's source of messages has in common, whether a queue or a ring.

A source lives on the loop's thread. It asks the server for as many messages as there
is room for, and puts what comes into a buffer that the consumer's thread reads.
"""

import os
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Protocol

from brokers.delivery import Delivery
from brokers.in_flight import InFlight
from brokers.link import Link
from brokers.routes import Route
from brokers.topology import Topology
from brokers.wire import Incoming

#: What the consumer's thread gets: deliveries and bodies, as many as came together.
Buffer = SimpleQueue[list[tuple[Delivery, bytes]]]

#: Where Dramatiq's workers take the prefetch from that somebody chose.
PREFETCH = "dramatiq_queue_prefetch"


@dataclass(slots=True)
class Intake:
    """Where a source's messages come from and go to.

    Attributes:
        link: The connection.
        topology: Makes consumers.
        route: The queue's route.
        in_flight: Keeps what came in.
        buffer: Gets what came in.
        limit: At most so many messages are in our hands at once, but for those that
            are worked off in no time (`InFlight.ahead`).
        is_exact: Whether these count too.
    """

    link: Link
    topology: Topology
    route: Route
    in_flight: InFlight
    buffer: Buffer
    limit: int
    is_exact: bool = False
    _came: list[tuple[Delivery, bytes]] = field(default_factory=list, init=False)

    def free(self, asked: int) -> int:
        """Return how many more messages may be in our hands; 0 or less where none.

        Without those that are worked off in no time.
        """
        return self.limit - self.in_flight.held(self.route.queue) - asked

    def room(self, asked: int) -> int:
        """Return how many messages may be asked for now; 0 where it is not worth it.

        Asking for one message at a time is dear for the server, so a quarter of the
        limit must be free, unless nothing is asked for.
        """
        queue = self.route.queue
        ahead = 0 if self.is_exact else self.in_flight.ahead(queue)
        limit = self.limit + ahead
        free = limit - self.in_flight.held(queue) - asked
        return free if free > 0 and (not asked or free * 4 >= limit) else 0

    def take(self, message: Incoming) -> Delivery:
        """Take in a message."""
        route = self.route
        delivery, is_new = self.in_flight.take(
            route.queue, message.reply, route.job_patience_s
        )
        if is_new:
            delivery.subject = message.subject
            if not self._came:
                self.link.at_end(self._hand_over)
            self._came.append((delivery, message.data))
        else:
            # The one that is worked on settles the message; nobody settles this one.
            delivery.settled = True
        return delivery

    def _hand_over(self) -> None:
        came, self._came = self._came, []
        self.buffer.put(came)


class Source(Protocol):
    """Gets messages for one consumer."""

    async def open(self) -> None:
        """Begin to ask.

        Raises:
            BrokerError: The server does not let us.
        """

    async def close(self) -> None:
        """Ask no more."""

    def rearm(self) -> None:
        """Ask for more if there is room."""

    def notice(self, tenants: frozenset[str]) -> None:
        """Take the hint that these tenants have messages."""


def is_prefetch_chosen() -> bool:
    """Tell whether somebody named a prefetch, and so means that number."""
    return PREFETCH in os.environ


def is_message(message: Incoming) -> bool:
    """Tell a message of a stream from a word of the server about our asking."""
    return message.reply.startswith("$JS.ACK.")
