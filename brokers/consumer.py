"""One queue's messages, handed out one by one and settled from any thread."""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty
from typing import Any

from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import BrokerConnectionError, BrokerError, DecodeError
from dramatiq.message import Message

from brokers.crashes import Crashes
from brokers.dead_letters import bury
from brokers.decoding import fields_of
from brokers.delivery import Choice, Delivery
from brokers.errors import ApiError, MessageTooLarge, UnavailableError
from brokers.in_flight import InFlight
from brokers.intake import Buffer, Source
from brokers.link import Link
from brokers.publishing import Publisher
from brokers.routes import Route

ACK = b"+ACK"
NAK = b"-NAK"
#: A message that could not become a dead letter comes again after this long.
UNBURIED_S = 30.0

AnyMessage = Message[Any] | MessageProxy

_log = logging.getLogger(__name__)


class ReceivedMessage(MessageProxy):
    """A message with its delivery.

    Attributes:
        delivery: What the server told with it.
        body: The message as it came.
    """

    def __init__(self, fields: dict[str, Any], delivery: Delivery, body: bytes) -> None:
        # Found on the proxy itself they cost no detour through a message, which most
        # jobs never need.
        self.queue_name = fields["queue_name"]
        self.actor_name = fields["actor_name"]
        self.args = tuple(fields["args"])
        self.kwargs = fields["kwargs"]
        self.options = fields["options"]
        self.message_id = fields["message_id"]
        self.message_timestamp = fields["message_timestamp"]
        self.failed = False
        self.delivery = delivery
        self.body = body
        delivery.message_id = self.message_id
        self._exception = None
        self._built: Message[Any] | None = None

    @property
    def _message(self) -> Message[Any]:  # type: ignore[override]  # Dramatiq reads it only
        """Return what all other attributes are looked up on."""
        if self._built is None:
            self._built = Message(
                self.queue_name,
                self.actor_name,
                self.args,
                self.kwargs,
                self.options,
                self.message_id,
                self.message_timestamp,
            )
        return self._built

    def __str__(self) -> str:
        """Return its name for logs: what it carries is nobody's there."""
        return f"{self.actor_name} {self.message_id}"

    def __repr__(self) -> str:
        """Return the same."""
        return f"<{self}>"


class JetStreamConsumer(Consumer):
    """Iterates over a queue's messages; `None` when none came in time."""

    def __init__(
        self,
        link: Link,
        source: Source,
        buffer: Buffer,
        settling: "Settling",
        timeout_s: float,
    ) -> None:
        self._link = link
        self._source = source
        self._buffer = buffer
        self._settling = settling
        self._timeout_s = timeout_s
        self._came: deque[tuple[Delivery, bytes]] = deque()
        self._closed = False

    def __next__(self) -> MessageProxy | None:
        """Return the next message, or none after the time-out.

        What cannot be decoded, or came too often, becomes a dead letter.
        """
        if not self._came:
            try:
                self._came.extend(self._buffer.get(timeout=self._timeout_s))
            except Empty:
                return None
        return self._settling.received(*self._came.popleft())

    def ack(self, message: MessageProxy) -> None:
        """Settle the message as its actor chose; returns at once."""
        self._settling.finished(message)

    def nack(self, message: MessageProxy) -> None:
        """Move the message to the dead letters, unless its actor chose otherwise.

        Where the letter cannot be stored, the message is delivered again later.
        """
        self._settling.failed(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Give messages back, to be delivered again at once, and take no more.

        Dramatiq does this only when it is about to close the consumer; asking on
        would bring the same messages back to us.
        """
        self._stop()
        for message in messages:
            self._settling.give_back(_delivery(message))

    def close(self) -> None:
        """Give back what nobody has taken; what is worked on stays ours.

        A second time does nothing.
        """
        self._stop()
        while not self._buffer.empty():
            self._came.extend(self._buffer.get())
        while self._came:
            self._settling.give_back(self._came.popleft()[0])

    def _stop(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self._link.run(self._source.close())
        except UnavailableError:
            _log.warning("A consumer was closed without its server.")


class Settling:
    """What becomes of one queue's messages; outlives the queue's consumers.

    Args:
        route: The queue's route.
        publisher: Stores dead letters.
        in_flight: The messages in our hands.
        max_deliveries: A message delivered more often becomes a dead letter.
        ended: Called with a unique job that has ended for good.
    """

    def __init__(
        self,
        route: Route,
        publisher: Publisher,
        in_flight: InFlight,
        *,
        crashes: Crashes | None,
        ttl_ms: Callable[[AnyMessage | None], int],
        ended: Callable[[MessageProxy], None],
    ) -> None:
        self._route = route
        self._publisher = publisher
        self._in_flight = in_flight
        self._crashes = crashes
        self._ttl_ms = ttl_ms
        self._ended = ended

    def received(self, delivery: Delivery, body: bytes) -> ReceivedMessage | None:
        """Return the message to work on; none where it became a dead letter."""
        try:
            fields = fields_of(body, self._route.queue)
        except DecodeError as error:
            _log.exception("Queue %s has an undecodable message.", self._route.queue)
            self._bury(delivery, body, "undecodable", error=error)
            return None
        message = ReceivedMessage(fields, delivery, body)
        if self._crashes and self._crashes.exceeded(delivery):
            self._bury(delivery, body, "crashed", message=message)
            self._end(message)
            return None
        return message

    def finished(self, message: MessageProxy) -> None:
        """Settle the message as its actor chose, by default as done."""
        delivery = _delivery(message)
        if delivery.choice is Choice.ACK:
            self._in_flight.settle(delivery, ACK)
            self._end(message)
        elif delivery.choice is Choice.BURY:
            self.failed(message)
        else:
            self._choose(delivery)

    def failed(self, message: MessageProxy) -> None:
        """Settle the message as its actor chose, by default as a dead letter."""
        delivery = _delivery(message)
        if delivery.settled:
            return
        if delivery.choice in (Choice.ACK, Choice.BURY):
            error = delivery.unsent or message._exception  # noqa: SLF001 - Dramatiq has no other way to it
            body = getattr(message, "body", b"") or message.encode()
            self._bury(delivery, body, "failed", message=message, error=error)
            self._end(message)
        else:
            self._choose(delivery)

    def give_back(self, delivery: Delivery) -> None:
        """Have the message delivered again at once."""
        self._in_flight.settle(delivery, NAK)

    def _end(self, message: MessageProxy) -> None:
        if "unique_for" in message.options:
            delivery = _delivery(message)
            # A letter that could not be stored is postponed, and comes again.
            if delivery.choice is Choice.ACK and not delivery.goes_on:
                self._ended(message)

    def _choose(self, delivery: Delivery) -> None:
        postponed = delivery.choice is Choice.POSTPONE
        self._in_flight.settle(delivery, delivery.nak if postponed else None)

    def _bury(
        self,
        delivery: Delivery,
        body: bytes,
        reason: str,
        *,
        message: AnyMessage | None = None,
        error: BaseException | None = None,
    ) -> None:
        try:
            bury(
                self._publisher,
                self._route,
                delivery,
                body,
                reason=reason,
                error=error,
                ttl_ms=self._ttl_ms(message),
            )
        except (BrokerError, MessageTooLarge):
            # Not lost, and not in the way: it comes again after a while.
            _log.exception("A dead letter of %s is not stored.", self._route.queue)
            delivery.postpone(UNBURIED_S)
            self._in_flight.settle(delivery, delivery.nak)
        else:
            self._in_flight.settle(delivery, ACK)


def _delivery(message: MessageProxy) -> Delivery:
    delivery: Delivery = message.delivery
    return delivery


def opened(link: Link, source: Source) -> None:
    """Begin to ask for messages.

    Raises:
        BrokerConnectionError: The server cannot be reached, or does not let us.
    """
    try:
        link.run(source.open(), timeout_s=15.0)
    except ApiError as error:
        raise BrokerConnectionError(str(error)) from error
