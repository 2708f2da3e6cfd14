"""Taking back messages that no actor has begun, by their id.

A delayed message is removed from the server. A queued one has no address, so its id
is marked, in a bucket that every worker process knows: the message is dropped when
its turn comes. What runs already runs on.
"""

import base64
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from dramatiq.broker import Broker, MessageProxy
from dramatiq.errors import DecodeError
from dramatiq.message import Message
from dramatiq.middleware import Middleware, SkipMessage

from brokers.decoding import fields_of
from brokers.errors import ApiError
from brokers.key_sets import KeySet
from brokers.kv import Bucket
from brokers.link import Link
from brokers.routes import unescaped
from brokers.tokens import escaped_token
from brokers.topology import Topology
from brokers.unique import UniqueJobs

#: For how long a cancelled message is known to be so, by default: a day.
KEEP_MARK_MS = 86_400_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What cancelling a message did.

    Attributes:
        message_id: The message.
        delayed: How many delayed deliveries of it were removed. Where it is 0, the
            message is queued and will be dropped, or it runs, has run, or never was:
            the server cannot tell which.
    """

    message_id: str
    delayed: int


class Cancelling(Middleware):
    """Marks messages as cancelled, and skips the marked ones.

    Part of every broker.

    Args:
        bucket: Keeps the marks.
        topology: Knows all streams.
        connected: Returns the link once the server is there.
        unique: Holds the locks of unique jobs.
    """

    def __init__(
        self,
        bucket: Bucket,
        topology: Topology,
        connected: Callable[[], Link],
        unique: UniqueJobs,
    ) -> None:
        self._bucket = bucket
        self._topology = topology
        self._connected = connected
        self._unique = unique
        self._marks: KeySet | None = None
        self._lock = threading.Lock()

    def load(self, link: Link) -> None:
        """Know all marks from now on; a second time on a link does nothing.

        Raises:
            BrokerError: They cannot be read; nothing should be consumed.
        """
        with self._lock:
            if self._marks is None or not self._marks.is_on(link):
                marks = KeySet(self._bucket, link)
                marks.open()
                self._marks = marks

    def cancel(self, message_id: str, keep_ms: int) -> Cancellation:
        """Mark a message, then remove what of it is delayed.

        In this order: what becomes due in between finds the mark.

        Raises:
            BrokerConnectionError: The server did not answer. What was done already
                stays done; doing it again does no harm.
        """
        self._bucket.put(message_id, b"", ttl_ms=keep_ms)
        link = self._connected()
        removed = sum(
            self._remove(link, stream, message_id) for stream in self._topology.streams
        )
        return Cancellation(message_id, removed)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Skip the message if it is marked.

        Raises:
            SkipMessage: It is; Dramatiq acknowledges it and tells its middleware.
        """
        if self._marks and message.message_id in self._marks:
            raise SkipMessage(f"{message.message_id} was cancelled.")

    def _remove(self, link: Link, stream: str, message_id: str) -> int:
        subjects = f"delayed.{stream}.*.{escaped_token(message_id)}.*"
        removed = 0
        while True:
            try:
                answer = link.run(
                    link.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subjects})
                )
                found = answer["message"]
                gone = link.run(
                    link.api(f"STREAM.PURGE.{stream}", {"filter": found["subject"]})
                )
            except ApiError as error:
                if error.code != 404:
                    raise
                return removed
            if gone["purged"]:
                removed += 1
                self._release(found["subject"], base64.b64decode(found["data"]))

    def _release(self, subject: str, body: bytes) -> None:
        """Release what a unique message held that will never run."""
        queue = unescaped(subject.split(".")[2])
        try:
            message: Message[object] = Message(**fields_of(body, queue))
        except DecodeError:
            _log.warning("A cancelled message of %s was no message.", queue)
        else:
            self._unique.release(message)
