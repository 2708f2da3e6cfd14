"""One message in our hands: what the server told with it, and what becomes of it.

The server tells through the reply subject,
`$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<…>.<stored at>.<pending>`, before
which newer servers may put a domain and an account.
"""

import threading
import time
from enum import Enum, auto

from dramatiq.broker import MessageProxy
from dramatiq.errors import BrokerConnectionError


class Choice(Enum):
    """What an actor decided about its own message."""

    ACK = auto()
    POSTPONE = auto()
    LEAVE = auto()
    BURY = auto()


#: A message whose follow-up could not be stored comes again after this long.
UNSENT_S = 1.0


class Delivery:
    """One message in our hands, from its arrival until it is settled.

    Attributes:
        queue: The queue that it came from.
        reply: The subject that settles it.
        deliveries: How often it was delivered, this time included; counts postponed
            and requeued deliveries as well as crashes.
        stream: The stream that it is stored in.
        sequence: Its place in the stream.
        subject: What it was published to; `""` where nobody told.
        identity: Unlike `sequence` alone, never used again for another message.
        pending: How many more the server had for the same consumer.
        message_id: Of the message, once it was read.
        goes_on: Whether the same message was stored again meanwhile, as a retry is.
        is_over: Whether the actor has returned or raised.
        mark: Where it is stored that a worker began with it; `""` for nowhere.
        unsent: Why a follow-up of the message is not stored.
        patience_s: Without a `touch` for this long the server may give it to another
            worker; none means as long as the process lives.
    """

    __slots__ = (
        "_choice",
        "_delay_s",
        "_moved_at",
        "deliveries",
        "goes_on",
        "identity",
        "is_over",
        "mark",
        "message_id",
        "patience_s",
        "pending",
        "queue",
        "reply",
        "sequence",
        "settled",
        "stream",
        "subject",
        "unsent",
    )

    def __init__(self, queue: str, reply: str, patience_s: float | None) -> None:
        tokens = reply.split(".")
        # With a domain and an account there are two more in front, and maybe a last.
        first = 2 if len(tokens) < 11 else 4
        self.queue = queue
        self.reply = reply
        self.stream = tokens[first]
        self.subject = ""
        self.deliveries = int(tokens[first + 2])
        self.sequence = int(tokens[first + 3])
        self.pending = int(tokens[first + 6])
        self.identity = f"{self.stream}.{self.sequence}.{tokens[first + 5]}"
        self.patience_s = patience_s
        self.message_id = ""
        self.goes_on = False
        self.settled = False
        self.is_over = False
        self.mark = ""
        self.unsent: BaseException | None = None
        self._choice = Choice.ACK
        self._delay_s = 0.0
        self._moved_at: float | None = None

    def postpone(self, delay_s: float) -> None:
        """Have the message delivered again after a delay, not acknowledged.

        It is settled so when the actor returns or raises. What middleware does on an
        exception (a retry, for instance) is done besides.
        """
        self._choice = Choice.POSTPONE
        self._delay_s = max(0.0, delay_s)

    def leave(self) -> None:
        """Settle nothing: the server delivers it again when the ack wait is over."""
        self._choice = Choice.LEAVE

    def touch(self) -> None:
        """Say that the job moved; keeps it ours for another `patience_s`."""
        self._moved_at = time.monotonic()

    @property
    def choice(self) -> Choice:
        """Return what the actor decided; to acknowledge where it decided nothing.

        Without its follow-up a message is not done: it comes again, or is dead where
        the follow-up could not be stored the next time either.
        """
        if self.unsent is None:
            return self._choice
        passes = isinstance(self.unsent, BrokerConnectionError)
        # An interrupt is no Exception, and may not come again.
        passes |= not isinstance(self.unsent, Exception)
        return Choice.POSTPONE if passes else Choice.BURY

    @property
    def nak(self) -> bytes:
        """Return the payload that postpones the message as the actor chose."""
        delay_s = self._delay_s if self.unsent is None else UNSENT_S
        return b'-NAK {"delay": %d}' % int(delay_s * 1e9)

    def is_alive(self, now: float) -> bool:
        """Tell whether the message stays ours at `now`, on the monotonic clock."""
        if self.patience_s is None or self._moved_at is None:
            return True
        return now - self._moved_at <= self.patience_s


_here = threading.local()


def current_delivery() -> Delivery | None:
    """Return the delivery that this thread's actor works on; none outside of one."""
    return getattr(_here, "delivery", None)


def set_current(delivery: Delivery | None) -> None:
    """Note what this thread works on from now on."""
    _here.delivery = delivery


def delivery_of(message: MessageProxy) -> Delivery | None:
    """Return the message's delivery; none where another broker delivered it."""
    delivery = getattr(message, "delivery", None)
    return delivery if isinstance(delivery, Delivery) else None


def note_worker() -> None:
    """Note that this thread works on messages."""
    _here.is_worker = True


def may_be_interrupted() -> bool:
    """Tell whether Dramatiq may raise an exception in this thread, wherever it is."""
    return getattr(_here, "is_worker", False)
