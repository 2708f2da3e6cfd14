"""The source of a plain queue: one durable consumer, asked for batches."""

import asyncio
import itertools
import json
import logging

from brokers.errors import ApiError, UnavailableError
from brokers.intake import Intake, is_message
from brokers.wire import Incoming

#: How long the server keeps a request for messages.
EXPIRES_S = 30
#: How often the server says that it still does.
HEARTBEAT_S = 2
#: The pause before a lost consumer is made again, the first and the longest.
PAUSE_S = (0.05, 1.0)

_log = logging.getLogger(__name__)


class Pulls:
    """Asks a queue's consumer for messages, anew before all have come."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._link = intake.link
        route = intake.route
        self._subject = (
            f"$JS.API.CONSUMER.MSG.NEXT.{route.stream}.{route.consumer_name()}"
        )
        self._inbox = ""
        self._numbers = itertools.count(1)
        self._asked = 0
        # Answers to requests up to this number do not count any more.
        self._stale = 0
        self._latest = 0
        self._heard_at = 0.0
        self._open = False
        self._recovering = False

    async def open(self) -> None:
        """Make the consumer if need be and begin to ask.

        Raises:
            BrokerError: The server does not let us.
        """
        await self._intake.topology.ensure_consumer(self._link, self._intake.route)
        self._inbox = await self._link.listen(self._on_message)
        self._open = True
        self._link.watch(self)
        self._intake.in_flight.when_free(self._intake.route.queue, self.rearm)
        self.rearm()

    async def close(self) -> None:
        """Ask no more; what still comes is given back by the ack wait's end."""
        self._open = False
        self._link.unwatch(self)
        await self._link.unlisten(self._inbox)

    def rearm(self) -> None:
        """Ask for as many messages as there is room for."""
        if not self._open or self._recovering or not self._link.is_online:
            return
        room = self._intake.room(self._asked)
        if room:
            self._asked += room
            self._latest = next(self._numbers)
            self._heard_at = self._link.loop.time()
            request = {
                "batch": room,
                "expires": int(EXPIRES_S * 1e9),
                "idle_heartbeat": int(HEARTBEAT_S * 1e9),
            }
            reply = f"{self._inbox}.{self._latest}"
            self._link.send(self._subject, json.dumps(request).encode(), reply)

    def notice(self, tenants: frozenset[str]) -> None:
        """Nothing to do: a plain queue's requests wait at the server."""

    def on_connected(self) -> None:
        """Ask again: what was asked before is lost."""
        self._reset()

    def on_disconnected(self) -> None:
        """Nothing to do before the server is back."""

    def on_tick(self) -> None:
        """Ask again where the server has fallen silent."""
        silence_s = self._link.loop.time() - self._heard_at
        if self._asked and silence_s > 2.5 * HEARTBEAT_S:
            self._reset()
        self.rearm()

    def _reset(self) -> None:
        self._stale, self._asked = self._latest, 0
        self.rearm()

    def _on_message(self, message: Incoming) -> None:
        self._heard_at = self._link.loop.time()
        if is_message(message):
            self._asked = max(0, self._asked - 1)
            self._intake.take(message)
            self._link.at_end(self.rearm)
        else:
            self._on_status(message)

    def _on_status(self, message: Incoming) -> None:
        status, headers = message.status, message.headers
        if status == "100" or int(message.subject.rpartition(".")[2]) <= self._stale:
            return
        if status == "503" or "Deleted" in headers.get("Description", ""):
            self._recover()
        elif status == "408":
            left = int(headers.get("Nats-Pending-Messages", self._asked))
            self._asked = max(0, self._asked - left)
            self.rearm()
        else:
            # A change of leader, or a server that goes down: ask at the next tick.
            self._stale, self._asked = self._latest, 0

    def _recover(self) -> None:
        if not self._recovering:
            self._recovering = True
            self._link.spawn(self._make_again())

    async def _make_again(self) -> None:
        pause_s = PAUSE_S[0]
        route, topology = self._intake.route, self._intake.topology
        while self._open:
            try:
                await topology.ensure_consumer(self._link, route)
                break
            except (ApiError, UnavailableError) as error:
                _log.warning("Queue %s has no consumer: %s", route.queue, error)
                await asyncio.sleep(pause_s)
                pause_s = min(PAUSE_S[1], pause_s * 2)
        self._recovering = False
        self._reset()
