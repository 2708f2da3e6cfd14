"""One connection to NATS: its event loop, its thread, and who listens to what.

A process has one connection, one event loop and one thread for it. Threads hand work
over through deques, and wake the loop once for all that has gathered, because a wake-up
costs more than a publish. nats-py does the wire, TLS, login, keep-alive and discovery;
JetStream's own protocol is spoken by this package, over nats-py's core calls.
"""

import asyncio
import json
import logging
import secrets
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

import nats.errors

from brokers.delivery import may_be_interrupted
from brokers.direct import Shortcut
from brokers.errors import ApiError, UnavailableError
from brokers.logins import refusal, silence
from brokers.outbox import Outbox
from brokers.replies import Replies, ReplyHandler
from brokers.servers import BACKOFF_S, NextServer, ServerOptions
from brokers.watchers import Watcher, Watchers
from brokers.wire import Handler, Incoming, WireClient, frame

T = TypeVar("T")

#: How long a request to JetStream's API may take.
API_TIMEOUT_S = 5.0
#: How long to wait for what is on its way to a subject that is given up.
DRAIN_S = 2.0
_log = logging.getLogger(__name__)


class Link:
    """A running connection: its loop and its thread."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._selector = selectors.DefaultSelector()
        self.loop = asyncio.SelectorEventLoop(self._selector)
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._awake = False
        self._online = asyncio.Event()
        self._outbox = Outbox(self.loop, self._online)
        self._shortcut = Shortcut(options, lambda work: self.call(self._start, work))
        self._gone = asyncio.Event()
        # nats-py's client, from the first connection on.
        self._client: Any = None
        self._next_server = NextServer()
        self._last_error: Exception | None = None
        self._closing = False
        self._replies = Replies()
        self._inboxes: dict[str, tuple[str, Handler]] = {}
        self._subscriptions: dict[str, Any] = {}
        self._watchers = Watchers()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(
            target=self._run, name="nats-connection", daemon=True
        )
        self._thread.start()

    # Called from any thread.

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Have the loop call the function soon, in order; return at once.

        Once the connection was closed it is not called.
        """
        if self._closing:
            return
        self._calls.append((function, args))
        if not self._awake:
            self._awake = True
            self.loop.call_soon_threadsafe(self._wake)

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = API_TIMEOUT_S) -> T:
        """Return what the coroutine returns; for rare requests only.

        Raises:
            UnavailableError: It took longer than `timeout_s`.
        """
        if self._closing:
            work.close()
            raise UnavailableError("The connection was closed.")
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(timeout_s)
        except FutureTimeoutError as error:
            future.cancel()
            raise UnavailableError(silence(self._last_error)) from error

    def exchange(
        self, subject: str, body: bytes, headers: dict[str, str], timeout_s: float
    ) -> Incoming | None:
        """Return the answer to a message; none where none came in time.

        The way with the fewest changes of threads; for threads that no interrupt of
        Dramatiq's can meet.
        """
        is_sent, answer = self._shortcut.exchange(subject, body, headers, timeout_s)
        if is_sent:
            return answer

        def send(reply: str) -> None:
            frames = frame(subject, body, reply, headers)
            if not self._outbox.write_now(frames):
                self.call(self._outbox.add, frames)

        return self._replies.exchange(send, timeout_s)

    def write_now(self, frames: bytes) -> bool:
        """Write at once, before what was handed over, if possible; else do nothing."""
        return not may_be_interrupted() and self._outbox.write_now(frames)

    def wait_until_connected(self, timeout_s: float) -> None:
        """Return once the server is there.

        Raises:
            UnavailableError: It was not there in time, or it refuses us.
        """
        deadline = time.monotonic() + timeout_s
        # No threading.Event: an interrupt inside of its wait may leave its lock held.
        while not self._online.is_set():
            # Whoever was let in before may be so again; a wrong login stays wrong.
            refused = self._client is None and refusal(self._last_error)
            if refused or time.monotonic() > deadline:
                raise UnavailableError(silence(self._last_error))
            time.sleep(0.005)

    @property
    def is_online(self) -> bool:
        """Tell whether the server is there, as far as we know."""
        return self._online.is_set()

    @property
    def max_payload_bytes(self) -> int:
        """Return how large the server lets a message be, its headers included."""
        return int(self._client.max_payload) if self._client else 0

    def close(self) -> None:
        """Write what waits, then disconnect and end the thread."""
        self._closing = True
        self.loop.call_soon_threadsafe(self._spawn, self._shut())
        self._thread.join(API_TIMEOUT_S)

    def abandon(self) -> None:
        """Let go of a connection that belongs to the parent process.

        The inherited descriptor is shared with the parent: an unregistration through
        it would deafen the parent's loop, so it is closed before anything else can.
        """
        self._selector.close()

    # Called on the loop.

    def send(
        self,
        subject: str,
        payload: bytes = b"",
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Write a message as soon as the server is there; keeps the order.

        Raises:
            ValueError: A header has a line break in it.
        """
        self._outbox.add(frame(subject, payload, reply, headers))

    def send_frames(self, frames: bytes) -> None:
        """Write what `frame` composed, as `send` does."""
        self._outbox.add(frames)

    def at_end(self, callback: Callable[[], None]) -> None:
        """Call back once when what came with this read, or this call, is handled."""
        self._outbox.at_end(callback)

    def on_replies(self, handler: ReplyHandler) -> str:
        """Return a fresh reply subject; what comes below it goes to the handler."""
        return self._replies.add(handler)

    def forget(self, reply: str) -> None:
        """Drop whatever comes to the reply subject from now on."""
        self._replies.forget(reply)

    async def listen(self, handler: Handler, subject: str = "") -> str:
        """Return a fresh subject; the handler gets what comes to one below it.

        Args:
            handler: Called on the loop.
            subject: Listen to this one; what is returned is only for `unlisten`.
        """
        inbox = f"_INBOX.{secrets.token_hex(11)}"
        self._inboxes[inbox] = (subject or f"{inbox}.>", handler)
        if self._online.is_set():
            await self._subscribe(inbox, *self._inboxes[inbox])
        return inbox

    def watch(self, watcher: Watcher) -> None:
        """Tell the watcher of changes for as long as it lives."""
        self._watchers.add(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Tell the watcher no more."""
        self._watchers.discard(watcher)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine of our own; its failure is logged."""
        self._spawn(work)

    async def request(self, subject: str, payload: bytes = b"") -> Incoming:
        """Return the answer.

        Raises:
            UnavailableError: Nobody answered within `API_TIMEOUT_S`.
        """
        answer: asyncio.Future[Incoming] = self.loop.create_future()

        def take(_: str, message: Incoming) -> None:
            if not answer.done():
                answer.set_result(message)

        reply = self.on_replies(take)
        self.send(subject, payload, reply)
        try:
            async with asyncio.timeout(API_TIMEOUT_S):
                return await answer
        except TimeoutError as error:
            raise UnavailableError(silence(self._last_error)) from error
        finally:
            self.forget(reply)

    async def api(
        self, path: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return JetStream's answer to `$JS.API.<path>`.

        Raises:
            ApiError: JetStream refused.
            UnavailableError: There is no answer, or JetStream has no leader.
        """
        payload = json.dumps(body).encode() if body is not None else b""
        message = await self.request(f"$JS.API.{path}", payload)
        if message.status == "503":
            raise UnavailableError("JetStream is not ready.")
        answer: dict[str, Any] = json.loads(message.data)
        if error := answer.get("error"):
            if error.get("code") == 503:
                raise UnavailableError(
                    f"JetStream is not ready: {error.get('description')}."
                )
            raise ApiError(
                error.get("code", 0),
                error.get("err_code", 0),
                error.get("description", ""),
            )
        return answer

    async def unlisten(self, inbox: str) -> None:
        """Take no more messages on a subject that `listen` returned."""
        self._inboxes.pop(inbox, None)
        subscription = self._subscriptions.pop(inbox, None)
        if subscription is None:
            return
        try:
            # What is on its way is still taken in, so that it can be given back.
            async with asyncio.timeout(DRAIN_S):
                await subscription.drain()
        except (nats.errors.Error, TimeoutError):
            await subscription.unsubscribe()

    async def flush(self) -> None:
        """Return once the server has read all that waited to be written."""
        await self._outbox.flush()

    # The rest is the loop's own.

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        for work in (self._keep_connected(), self._outbox.write_on(), self._tick()):
            self._spawn(work)
        self.loop.run_forever()
        self.loop.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.error("The NATS connection's own work failed.", exc_info=error)

    def _wake(self) -> None:
        # Lowered before looking: whoever appends from now on wakes the loop again.
        self._awake = False
        calls = self._calls
        try:
            while calls:
                function, args = calls.popleft()
                function(*args)
        finally:
            # One bad call, which the loop logs, must not take the others with it.
            if calls:
                self.loop.call_soon(self._wake)
            self._outbox.end()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            if self._online.is_set():
                self._client.cut_if_stuck()
            self._shortcut.on_tick()
            # An interrupted thread may have left work without waking us.
            self._wake()
            self._watchers.tick()

    async def _keep_connected(self) -> None:
        while not self._closing:
            self._gone.clear()
            try:
                client = WireClient()
                client.when_read(self._outbox.end)
                await client.connect(
                    **self._options.for_client(),
                    reconnect_to_server_handler=self._next_server,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_connected,
                    closed_cb=self._on_closed,
                )
            except (nats.errors.Error, OSError) as error:
                await self._on_error(error)
                await asyncio.sleep(BACKOFF_S[1])
                continue
            self._client = client
            inbox = self._replies.inbox
            await self._subscribe(inbox, f"{inbox}>", self._replies.take)
            for name, listener in list(self._inboxes.items()):
                await self._subscribe(name, *listener)
            await self._on_connected()
            await self._gone.wait()

    async def _subscribe(self, inbox: str, subject: str, handler: Handler) -> None:
        self._subscriptions[inbox] = await self._client.listen(subject, handler)

    async def _on_connected(self) -> None:
        self._next_server.connected(self._client.connected_url)
        self._online.set()
        self._outbox.connected(self._client)
        self._watchers.connected()

    async def _on_disconnected(self) -> None:
        self._online.clear()
        self._outbox.disconnected()
        self._replies.give_up()
        self._watchers.disconnected()

    async def _on_closed(self) -> None:
        await self._on_disconnected()
        self._gone.set()

    async def _on_error(self, error: Exception) -> None:
        if type(error) is not type(self._last_error):
            _log.warning("NATS: %r", error)
        self._last_error = error

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._spawn(work())

    async def _shut(self) -> None:
        self._shortcut.close()
        try:
            await self.flush()
        except (nats.errors.Error, TimeoutError):
            _log.warning("The last words to NATS may be lost.", exc_info=True)
        if self._client is not None:
            await self._client.close()
        others = self._tasks - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.loop.stop()
