"""Which messages their workers died of.

The server counts deliveries, but a message that was requeued or postponed is delivered
again without any harm. So whoever begins with a message that was delivered before
stores a mark first, and takes it away when the job is over, however it ended. The marks
that stay are those of workers that died. A message that a dead worker had only
prefetched has none. Of a first delivery nothing is written, which is why ordinary
messages cost nothing and a first death is not counted.
"""

import logging
from collections.abc import Callable
from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from brokers.delivery import Delivery, delivery_of
from brokers.errors import ApiError, UnavailableError
from brokers.link import Link
from brokers.publishing import Outgoing, Publisher
from brokers.stored import stored_by_subject
from brokers.topology import CRASH_STREAM, STREAM_NOT_FOUND

_log = logging.getLogger(__name__)


class Crashes(Middleware):
    """Marks what workers begin with, and tells what killed too many of them.

    Where the server does not answer it fails open: the job runs and is not counted.

    Args:
        publisher: Stores marks.
        connected: Returns the link once the server is there.
        most: So many marks make a dead letter.
    """

    def __init__(
        self, publisher: Publisher, connected: Callable[[], Link], most: int
    ) -> None:
        self._publisher = publisher
        self._connected = connected
        self._most = most

    def exceeded(self, delivery: Delivery) -> bool:
        """Tell whether the message killed as many workers as it may."""
        if delivery.deliveries <= self._most:
            return False
        try:
            link = self._connected()
            marks, _ = link.run(
                stored_by_subject(link, CRASH_STREAM, f"{_subject(delivery)}.*")
            )
        except (ApiError, UnavailableError) as error:
            # Without the stream no mark was ever stored.
            if getattr(error, "err_code", 0) != STREAM_NOT_FOUND:
                _log.warning("Crashes are not known: %s", error)
            return False
        return len(marks) >= self._most

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Store a mark, unless the message came for the first time."""
        delivery = delivery_of(message)
        if delivery is not None and delivery.deliveries > 1:
            subject = f"{_subject(delivery)}.{delivery.deliveries}"
            mark = Outgoing(CRASH_STREAM, subject, b"", {"Nats-Msg-Id": subject})
            self._publisher.store([mark])
            delivery.mark = subject

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """Take the mark away; it is gone before the message can come again."""
        delivery = delivery_of(message)
        if delivery is not None and delivery.mark:
            link = self._connected()
            link.run(
                link.api(f"STREAM.PURGE.{CRASH_STREAM}", {"filter": delivery.mark})
            )
            delivery.mark = ""

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Take the mark away."""
        self.after_process_message(broker, message)


def _subject(delivery: Delivery) -> str:
    return f"crashes.{delivery.identity}"
