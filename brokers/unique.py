"""Unique jobs: while one is queued, delayed or running, another is not stored.

A job with the option `unique_for` (milliseconds) is stored together with a lock, a
message in the same stream under a subject of its own: both or neither. The lock ends
when the job has ended for good, or after `unique_for`, whichever is first.
"""

import base64
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.common import q_name
from dramatiq.errors import BrokerError
from dramatiq.message import Message, get_encoder

from brokers.delivery import current_delivery
from brokers.entries import lifetime
from brokers.errors import ApiError, RefusedError
from brokers.link import Link
from brokers.publishing import Outgoing, Publisher
from brokers.routes import Route
from brokers.shards import shard
from brokers.topology import WRONG_REVISION, Topology

#: The option that names the message in whose favour this one was not stored.
DUPLICATE_OF = "duplicate_of"

_log = logging.getLogger(__name__)


def is_duplicate(message: Message[Any]) -> bool:
    """Tell whether enqueuing the message stored nothing, since another holds its lock.

    True from that call until the message is enqueued again.
    """
    return DUPLICATE_OF in message.options


def duplicate_of(message: Message[Any]) -> str | None:
    """Return the id of the message that was there already; none where none was."""
    found = message.options.get(DUPLICATE_OF)
    return None if found is None else str(found)


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever holds a lock.

    Attributes:
        message_id: The job's message.
        token: Names the call that stored it.
        sequence: The lock's place in its stream.
    """

    message_id: str
    token: str
    sequence: int


class UniqueJobs:
    """Stores jobs with their locks, and removes the locks of jobs that ended.

    Part of every broker. What is released by nobody ends after `unique_for`.

    Args:
        publisher: Stores messages.
        topology: Knows where the queues are.
        connected: Returns the link once the server is there.
    """

    def __init__(
        self, publisher: Publisher, topology: Topology, connected: Callable[[], Link]
    ) -> None:
        self._publisher = publisher
        self._topology = topology
        self._connected = connected

    def concerns(self, broker: Broker, messages: Sequence[Message[Any]]) -> bool:
        """Tell whether any of the messages is unique."""
        actors = {broker.actors.get(name) for name in {m.actor_name for m in messages}}
        asked = any(actor and "unique_for" in actor.options for actor in actors)
        return asked or any("unique_for" in one.options for one in messages)

    def locks(
        self, broker: Broker, messages: Sequence[Message[Any]], tokens: Sequence[str]
    ) -> list[Outgoing | None]:
        """Return each message's lock or none; nothing at all where none is unique."""
        if not self.concerns(broker, messages):
            return []
        return [
            self.lock(broker, message, token)
            for message, token in zip(messages, tokens, strict=True)
        ]

    def lock(
        self, broker: Broker, message: Message[Any], token: str
    ) -> Outgoing | None:
        """Return the lock to store with the message; none where it needs none.

        That is, where it is not unique, or is stored by its own run: a retry keeps
        the lock that its job has. The message's options get the actor's lifetime and
        the key that is compared, so that every worker sees what was locked.

        Args:
            broker: Knows the actors.
            message: About to be stored.
            token: Names this call.

        Raises:
            ValueError: `unique_for` is no positive number.
        """
        actor = broker.actors.get(message.actor_name)
        defaults = actor.options if actor else {}
        options = message.options
        unique_for = options.get("unique_for", defaults.get("unique_for"))
        if unique_for is None:
            return None
        if not isinstance(unique_for, int | float) or unique_for <= 0:
            raise ValueError(
                f"unique_for is a time in milliseconds, not {unique_for!r}."
            )
        options.pop(DUPLICATE_OF, None)
        options["unique_for"] = unique_for
        options["unique_key"] = _key(message, defaults.get("unique_key"))
        delivery = current_delivery()
        if delivery is not None and delivery.message_id == message.message_id:
            delivery.goes_on = True
            return None
        return self._lock(message, token)

    def store(self, message: Message[Any], lock: Outgoing, outgoing: Outgoing) -> int:
        """Return 1 once message and lock are stored, 0 where it was there already.

        Where another message holds the lock, `is_duplicate` is true from then on.

        Raises:
            RefusedError: The server will never take it.
            BrokerConnectionError: It was not confirmed in time. Message and lock may
                be stored, both or neither.
        """
        token = json.loads(lock.body)["token"]
        while True:
            # Looked at first: to be refused as a page is dear for the server.
            holder = self._holder(lock.stream, lock.subject)
            if holder is not None and holder.token == token:
                # An attempt of ours whose answer was lost.
                return 1
            if holder is not None:
                message.options[DUPLICATE_OF] = holder.message_id
                return 0
            try:
                new = self._publisher.store([lock, outgoing], atomic=True)
            except RefusedError as error:
                if error.err_code not in WRONG_REVISION:
                    raise
            else:
                return self._stored(message, new)

    def store_many(
        self,
        messages: Sequence[Message[Any]],
        locks: Sequence[Outgoing | None],
        outgoing: Sequence[Outgoing],
        *,
        atomic: bool = False,
    ) -> int:
        """Return how many are new, once all are stored that can be.

        Args:
            messages: The messages.
            locks: One for each message, or none.
            outgoing: One for each message.
            atomic: As for `Publisher.store`.

        Raises:
            ValueError: `atomic`, and some have a lock.
            RefusedError: As for `store`.
            BrokerConnectionError: As for `store`.
        """
        if atomic and any(locks):
            raise ValueError("Unique messages are not stored in atomic pages.")
        one_by_one = list(zip(messages, locks, outgoing, strict=True))
        plain = [one for _, lock, one in one_by_one if lock is None]
        new = self._publisher.store(plain, atomic=atomic)
        return new + sum(
            self.store(message, lock, one) for message, lock, one in one_by_one if lock
        )

    def release(self, message: MessageProxy | Message[Any]) -> None:
        """Remove the lock of a job that ended, if it is still its own.

        Fails open for no longer than `unique_for`: where the server does not answer,
        the lock ends by itself.
        """
        if "unique_for" not in message.options:
            return
        route = self._route(message)
        subject = _subject(route, message.options.get("unique_key", ""))
        try:
            holder = self._holder(route.stream, subject)
            if holder is not None and holder.message_id == message.message_id:
                link = self._connected()
                # Only this lock; another that took its place has a later number.
                wanted = {"filter": subject, "seq": holder.sequence + 1}
                link.run(link.api(f"STREAM.PURGE.{route.stream}", wanted))
        except BrokerError as error:
            _log.warning("The lock of %s is not released: %s", message, error)

    def _route(self, message: MessageProxy | Message[Any]) -> Route:
        """Return where message and lock are stored: within the tenant's shard."""
        parts = self._topology.parts(q_name(message.queue_name))
        return shard(parts, message.options)

    def _stored(self, message: Message[Any], new: int) -> int:
        if new == 1:
            # One by one, after a lost answer: the message was a duplicate of an
            # earlier one by its message id, and its new lock is nobody's.
            self.release(message)
            return 0
        return new // 2

    def _lock(self, message: Message[Any], token: str) -> Outgoing:
        route = self._route(message)
        body = {"message_id": message.message_id, "token": token}
        return Outgoing(
            route.stream,
            _subject(route, message.options["unique_key"]),
            json.dumps(body).encode(),
            {"Nats-Expected-Last-Subject-Sequence": "0"}
            | lifetime(message.options["unique_for"]),
        )

    def _holder(self, stream: str, subject: str) -> Holder | None:
        link = self._connected()
        try:
            answer = link.run(
                link.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
            )
        except ApiError as error:
            if error.code != 404:
                raise
            return None
        found = answer["message"]
        body = json.loads(base64.b64decode(found["data"]))
        return Holder(body["message_id"], body["token"], found["seq"])


def _subject(route: Route, key: str) -> str:
    """Return the lock's subject; a digest, since keys are of any length."""
    return f"{route.locks}.{hashlib.sha256(key.encode()).hexdigest()}"


def _key(message: Message[Any], default: Any) -> str:
    """Return what is compared: the given key, or the actor and its arguments."""
    key = message.options.get("unique_key", default)
    if callable(key):
        key = key(*message.args, **message.kwargs)
    if key is not None:
        return str(key)
    arguments = {
        "args": list(message.args),
        "kwargs": dict(sorted(message.kwargs.items())),
    }
    digest = hashlib.sha256(get_encoder().encode(arguments)).hexdigest()
    return f"{message.actor_name} {digest}"
