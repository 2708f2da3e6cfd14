"""A Dramatiq broker over NATS JetStream.

Messages are stored durably before `enqueue` returns, delivered at least once, kept
by heartbeats while their worker lives, and delayed by the server. Queues need no
declaration to be published to; streams and consumers are made at their first use.
"""

import secrets
import ssl
from collections.abc import Iterable, Sequence
from itertools import islice
from queue import SimpleQueue
from typing import Any

from dramatiq.actor import Actor
from dramatiq.broker import Consumer
from dramatiq.common import q_name
from dramatiq.errors import QueueNotFound
from dramatiq.message import Message
from dramatiq.middleware import Middleware, default_middleware

from brokers.batching import Batching, BatchingConsumer, Gathering
from brokers.bulk import Bulk
from brokers.cancelling import KEEP_MARK_MS, Cancellation, Cancelling
from brokers.connection import Connection
from brokers.consumer import (
    NAK,
    AnyMessage,
    JetStreamConsumer,
    Settling,
    opened,
)
from brokers.crashes import Crashes
from brokers.dead_letters import default_ttl_ms
from brokers.delays import delayed
from brokers.delivery import Delivery, current_delivery
from brokers.in_flight import InFlight
from brokers.ingest import PART
from brokers.intake import Buffer, Intake, Source, is_prefetch_chosen
from brokers.link import Link
from brokers.queues import QueuesBroker
from brokers.routes import Route
from brokers.sending import (
    Addresses,
    all_encoded,
    fresh_ids,
    kept_unless_stored,
    outgoing,
)
from brokers.servers import ServerOptions
from brokers.sources import source_for
from brokers.tokens import plain_token
from brokers.topology import IDLE_TENANT_S, Settings, Topology
from brokers.unique import UniqueJobs, is_duplicate
from brokers.worker_hooks import WorkerHooks


class JetStreamBroker(QueuesBroker):
    """Sends messages through NATS JetStream (server 2.14 or later).

    Neither the constructor nor declaring a queue touches the network. The broker may
    be used by any number of threads, and in processes forked off later.

    Args:
        servers: One URL, or several of one cluster separated by commas or as a
            sequence.
        namespace: The stream of queues without a route.
        routes: Queues that have their own stream and subject.
        middleware: As for any broker; none means Dramatiq's default.
        replicas: On how many servers each stream is kept.
        ack_wait_ms: A message is delivered again when its worker gave no sign of
            life for this long.
        max_deliveries: A message becomes a dead letter when so many workers died
            while they worked on it, the first not counted: no death leaves a trace
            at a first delivery. Being postponed or requeued does not count. None
            counts nothing, and leaves that to the application.
        dead_message_ttl: In milliseconds, how long dead letters are kept, where
            neither the message's nor its actor's option of this name says so. None:
            the environment's `dramatiq_dead_message_ttl`, or else seven days.
        tls: For `tls://` URLs, where the system's defaults do not do.
        credentials: The path of a `.creds` file; read at each login.
        nkey_seed: The seed of a user's NKey. A user and password or a token belong
            into the URL.
        duplicate_window_s: For how long the server knows a message id.
        idle_tenant_s: A tenant's consumer is gone after this long without messages;
            it is made again when some come.
        publish_timeout_s: How long to try to store messages without progress. A
            cluster that lost a node needs up to 20 s.
        max_priority: Messages of queues without a route may have a `broker_priority`
            from 0 to this, 1 to 9; all processes need the same. None means that the
            option is not looked at.
    """

    def __init__(
        self,
        servers: str | Sequence[str] = "nats://127.0.0.1:4222",
        *,
        namespace: str = "dramatiq",
        routes: Iterable[Route] = (),
        middleware: list[Middleware] | None = None,
        replicas: int = 1,
        ack_wait_ms: int = 60_000,
        max_deliveries: int | None = None,
        dead_message_ttl: int | None = None,
        tls: ssl.SSLContext | None = None,
        credentials: str | None = None,
        nkey_seed: str | None = None,
        duplicate_window_s: float = 600,
        idle_tenant_s: float = IDLE_TENANT_S,
        publish_timeout_s: float = 30,
        max_priority: int | None = None,
    ) -> None:
        given = [m() for m in default_middleware] if middleware is None else middleware
        settings = Settings(
            namespace,
            replicas,
            ack_wait_ms / 1000,
            duplicate_window_s,
            idle_tenant_s=idle_tenant_s,
            max_priority=max_priority,
        )
        urls = servers.split(",") if isinstance(servers, str) else servers
        name = f"dramatiq-{namespace}"
        options = ServerOptions(tuple(urls), name, tls, credentials, nkey_seed)
        topology = Topology(settings, routes)
        self._look_into(Connection(options), topology, publish_timeout_s)
        self._dead_message_ttl = (
            default_ttl_ms() if dead_message_ttl is None else dead_message_ttl
        )
        self._in_flight: tuple[Link, InFlight] | None = None
        self._rings: dict[str, tuple[Link, Source]] = {}
        self._batching = Batching()
        self._unique = UniqueJobs(self._publisher, self._topology, self._connected_link)
        self._crashes = (
            None
            if max_deliveries is None
            else Crashes(self._publisher, self._connected_link, max_deliveries)
        )
        marks = self.bucket(f"{plain_token(namespace)}-cancelled")
        self._cancelling = Cancelling(
            marks, self._topology, self._connected_link, self._unique
        )
        # In front of all others, so that their hooks know the delivery.
        own = [WorkerHooks(self._give_back, self._batching), self._cancelling]
        super().__init__([*own, *([self._crashes] if self._crashes else []), *given])
        self._addresses = Addresses(self._topology, self.actors)
        self.actor_options |= {"unique_for", "unique_key"}

    def cancel(self, message_id: str, *, keep_ms: int = KEEP_MARK_MS) -> Cancellation:
        """Take back a message that no actor has begun; return what was done.

        Delayed deliveries are removed at once. A queued message is dropped when its
        turn comes: acknowledged, and its middleware's `after_skip_message` called.
        One that runs is not interrupted, but not retried either.

        Args:
            message_id: Until the mark ends, no message with this id is worked on,
                also if it is enqueued after this.
            keep_ms: When the mark ends; a message queued for longer will run.

        Raises:
            BrokerConnectionError: The server did not answer; the same call may be
                repeated.
        """
        return self._cancelling.cancel(message_id, keep_ms)

    def declare_actor(self, actor: Actor[Any, Any]) -> None:
        """Note that workers have the actor; the same name again replaces it.

        Raises:
            ValueError: Its options make no sense to the broker.
        """
        self._batching.note(actor)
        super().declare_actor(actor)

    def declare_queue(self, queue_name: str) -> None:
        """Note that workers consume the queue; a second time does nothing."""
        queue_name = q_name(queue_name)
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call the hooks in reverse order; what they raise is logged."""
        if signal != "process_message" or not (delivery := current_delivery()):
            super().emit_after(signal, *args, **kwargs)
            return
        # Dramatiq calls them twice where they were interrupted.
        delivery.is_over, delivery.unsent = True, None
        try:
            super().emit_after(signal, *args, **kwargs)
        except BaseException as error:
            delivery.unsent = error
            raise

    def enqueue(
        self, message: Message[Any], *, delay: int | None = None
    ) -> Message[Any]:
        """Return the message once it is stored durably.

        Each call stores it anew, also with a message id that was stored before. But
        a message with the option `unique_for` is not stored while another with its
        `unique_key` is queued, delayed or running: `brokers.unique.is_duplicate`
        then tells so of what is returned, and no `after_enqueue` hook is called.

        Args:
            message: Its queue need not be declared.
            delay: Deliver it no sooner than in so many milliseconds.

        Raises:
            MessageTooLarge: The server would not take it; nothing was sent.
            ValueError: The queue's route needs an option that the message lacks, or
                has no such priority.
            BrokerConnectionError: It was not confirmed in time.
        """
        self.emit_before("enqueue", message, delay)
        with kept_unless_stored:
            route = self._addresses.route(message)
            token = secrets.token_hex(12)
            lock = self._unique.lock(self, message, token)
            prepared = outgoing(message, route, token)
            if delay is not None and delay > 0:
                prepared = delayed(prepared, route, delay, message.message_id)
            if lock is None:
                self._publisher.store([prepared])
            else:
                self._unique.store(message, lock, prepared)
        if lock is not None and is_duplicate(message):
            return message
        if not delay:
            self._notice([message])
        self.emit_after("enqueue", message, delay)
        return message

    def enqueue_many(
        self,
        messages: Iterable[Message[Any]],
        *,
        dedup_ids: Sequence[str] | None = None,
        atomic: bool = False,
    ) -> int:
        """Return how many messages are new, once all are stored durably.

        Args:
            messages: Of any queues. A sequence is encoded before any of it is sent;
                what another iterable gave is sent while it makes more (`calls`).
            dedup_ids: One for each message. The server stores an id once within its
                duplicate window. Without them every message is new.
            atomic: Store pages of up to 1000 messages entirely or not at all. A
                page with a duplicate is stored message by message.

        Messages with the option `unique_for` are stored one by one, after the
        others; those that were there already are not counted.

        Raises:
            MessageTooLarge: The server would not take one; nothing of a sequence was
                sent. Of another iterable, what came before may be stored.
            ValueError: A route needs an option that a message lacks, or has no such
                priority, or a unique message is to be stored with a page; as above.
            BrokerConnectionError: Some were not confirmed in time; the same call
                with the same ids may be repeated.
        """
        if dedup_ids is not None or atomic or isinstance(messages, Sequence):
            return self._enqueue_all(list(messages), dedup_ids, atomic=atomic)
        rest, count = iter(messages), 0
        with kept_unless_stored, Bulk(self._publisher) as bulk:
            while some := list(islice(rest, PART)):
                count += self._enqueue_some(some, bulk)
        return count

    def _enqueue_some(self, messages: Sequence[Message[Any]], bulk: Bulk) -> int:
        """Have messages stored by the bulk's end; those that need more, at once."""
        is_plain = not (self._rings or self.hears("enqueue"))
        if not is_plain or self._unique.concerns(self, messages):
            return self._enqueue_all(messages)
        bulk.add(self._addresses.targets(messages), all_encoded(messages))
        return len(messages)

    def _enqueue_all(
        self,
        messages: Sequence[Message[Any]],
        dedup_ids: Sequence[str] | None = None,
        *,
        atomic: bool = False,
    ) -> int:
        is_heard = self.hears("enqueue")
        if is_heard:
            for message in messages:
                self.emit_before("enqueue", message, None)
        with kept_unless_stored:
            if dedup_ids or atomic or self._unique.concerns(self, messages):
                ids = dedup_ids or fresh_ids(len(messages))
                new, messages = self._store_with_ids(messages, ids, atomic=atomic)
            else:
                targets, bodies = (
                    self._addresses.targets(messages),
                    all_encoded(messages),
                )
                with Bulk(self._publisher) as bulk:
                    bulk.add(targets, bodies)
        self._notice(messages)
        if is_heard:
            for message in messages:
                self.emit_after("enqueue", message, None)
        # A fresh id is only ever a duplicate of its own first attempt.
        return new if dedup_ids else len(messages)

    def _store_with_ids(
        self, messages: Sequence[Message[Any]], ids: Sequence[str], *, atomic: bool
    ) -> tuple[int, Sequence[Message[Any]]]:
        """Return how many the server did not know, and which are stored."""
        locks = self._unique.locks(self, messages, ids)
        prepared = self._addresses.outgoing(messages, ids)
        if not locks:
            return self._publisher.store(prepared, atomic=atomic), messages
        new = self._unique.store_many(messages, locks, prepared, atomic=atomic)
        return new, [one for one in messages if not is_duplicate(one)]

    def consume(
        self, queue_name: str, prefetch: int = 1, timeout: int = 30000
    ) -> Consumer:
        """Return an iterator over the queue's messages.

        Args:
            queue_name: A declared queue.
            prefetch: At most so many messages are handed out and not settled, and
                besides as many as are worked off in 50 ms, unless the environment or
                the route chose a number. Those of an earlier consumer of the queue
                count. Batched actors raise it,
                so that their batches can fill, and priorities by one for each class.
            timeout: In milliseconds, how long the iterator waits for a message.

        Raises:
            QueueNotFound: The queue was never declared.
            BrokerConnectionError: The server cannot be reached.
        """
        if queue_name not in self.queues:
            raise QueueNotFound(queue_name)
        link = self._connected_link()
        self._cancelling.load(link)
        route, in_flight = self._topology.route(queue_name), self._held(link)
        limit = max(prefetch, self._batching.places(queue_name))
        limit += route.max_priority or 0
        limit = min(limit, route.max_in_flight or limit)
        buffer: Buffer = SimpleQueue()
        intake = Intake(link, self._topology, route, in_flight, buffer, limit)
        intake.is_exact = bool(route.max_in_flight) or is_prefetch_chosen()
        source = source_for(intake)
        opened(link, source)
        if route.by_tenant:
            self._rings[queue_name] = (link, source)
        settling = Settling(
            route,
            self._publisher,
            in_flight,
            crashes=self._crashes,
            ttl_ms=self._dead_ttl_ms,
            ended=self._unique.release,
        )
        parts = (link, source, buffer, settling, timeout / 1000)
        if rules := self._batching.of_queue(queue_name):
            return BatchingConsumer(*parts, gathering=Gathering(rules, limit))
        return JetStreamConsumer(*parts)

    def _dead_ttl_ms(self, message: AnyMessage | None) -> int:
        """Return how long this message is kept when it is dead."""
        if message is None:
            return self._dead_message_ttl
        actor = self.actors.get(message.actor_name)
        found = message.options.get("dead_message_ttl")
        if found is None and actor is not None:
            found = actor.options.get("dead_message_ttl")
        return self._dead_message_ttl if found is None else int(found)

    def _held(self, link: Link) -> InFlight:
        """Return what is in flight on this link; a new link begins with nothing."""
        if self._in_flight is None or self._in_flight[0] is not link:
            in_flight = InFlight(link, self._topology.settings.ack_wait_s)
            self._in_flight = (link, in_flight)
        return self._in_flight[1]

    def _give_back(self, delivery: Delivery) -> None:
        if self._in_flight is not None:
            self._in_flight[1].settle(delivery, NAK)

    def _notice(self, messages: Iterable[Message[Any]]) -> None:
        """Tell this process's own rings of the tenants that just got messages."""
        if not self._rings:
            return
        tenants: dict[str, set[str]] = {}
        for message in messages:
            if message.queue_name in self._rings:
                tenant = str(message.options["tenant"])
                tenants.setdefault(message.queue_name, set()).add(tenant)
        for queue, some in tenants.items():
            link, ring = self._rings[queue]
            # In a forked child the ring is the parent's.
            if link is self._connection.link():
                link.call(ring.notice, frozenset(some))
