"""The source of a queue with tenants: each tenant with a backlog gets its turn.

Every tenant has a consumer of its own. Those known to have messages stand in a ring;
whoever is asked gives its share of the free places and goes to the back of the ring,
so that no backlog, however long, is in another tenant's way. Who has messages is read
off the stream's subjects, and told by what this process itself publishes.
"""

import itertools
import json
import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from brokers.errors import ApiError, UnavailableError
from brokers.intake import Intake, is_message
from brokers.topology import STREAM_NOT_FOUND, stored_by_subject
from brokers.wire import Incoming

#: How often to look who has messages, at first and when nothing comes.
LOOK_S = (0.25, 1.0)
#: An answer to a request that must be answered at once is lost after this long.
LOST_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Ask:
    """A request for one tenant's messages.

    Attributes:
        number: Tells its answers from those to an earlier one.
        left: How many messages may still come.
        at: When it was made, on the loop's clock.
        again: Whether the tenant got messages that the request may have missed.
    """

    number: int
    left: int
    at: float
    again: bool = False


class Ring:
    """Asks the tenants in turn for messages, at most once at a time each."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._link = intake.link
        self._route = intake.route
        self._inbox = ""
        self._numbers = itertools.count(1)
        self._turns: deque[str] = deque()
        self._waiting: set[str] = set()
        self._asks: dict[str, Ask] = {}
        self._asked = 0
        self._known: set[str] = set()
        self._look_s = LOOK_S[0]
        self._looking = False
        self._open = False

    async def open(self) -> None:
        """Make the stream if need be and begin to ask.

        Raises:
            BrokerError: The server does not let us.
        """
        topology = self._intake.topology
        if not topology.is_ready(self._route.stream):
            await topology.ensure_stream(self._link, self._route.stream)
        self._inbox = await self._link.listen(self._on_message)
        self._open = True
        self._link.watch(self)
        self._intake.in_flight.when_free(self._route.queue, self.rearm)
        self._look_soon(0.0)

    async def close(self) -> None:
        """Ask no more; what still comes is given back by the ack wait's end."""
        self._open = False
        self._link.unwatch(self)
        await self._link.unlisten(self._inbox)

    def rearm(self) -> None:
        """Ask the next tenants in the ring, while there is room."""
        if not self._open or not self._link.is_online:
            return
        room = self._intake.room(self._asked)
        while room > 0 and self._turns:
            share = max(1, room // len(self._turns))
            tenant = self._turns.popleft()
            self._waiting.discard(tenant)
            self._ask(tenant, share)
            room -= share

    def notice(self, tenants: Iterable[str]) -> None:
        """Give tenants that have messages a place in the ring."""
        if not self._open:
            return
        for tenant in tenants:
            if ask := self._asks.get(tenant):
                ask.again = True
            else:
                self._queue_up(tenant)
        self.rearm()

    def on_connected(self) -> None:
        """Begin again: consumers in memory may be gone, and requests are lost."""
        self._known.clear()
        self._asks.clear()
        self._asked = 0
        self._look_soon(0.0)

    def on_disconnected(self) -> None:
        """Nothing to do before the server is back."""

    def on_tick(self) -> None:
        """Give up requests whose answers are lost."""
        now = self._link.loop.time()
        for tenant, ask in list(self._asks.items()):
            if now - ask.at > LOST_S:
                self._known.discard(tenant)
                self._end(tenant)
        self.rearm()

    def _ask(self, tenant: str, share: int) -> None:
        ask = Ask(next(self._numbers), share, self._link.loop.time())
        self._asks[tenant] = ask
        self._asked += share
        if tenant in self._known:
            self._pull(tenant, ask)
        else:
            self._link.spawn(self._make_and_pull(tenant, ask))

    async def _make_and_pull(self, tenant: str, ask: Ask) -> None:
        try:
            await self._intake.topology.ensure_consumer(self._link, self._route, tenant)
        except (ApiError, UnavailableError) as error:
            _log.warning("A tenant of %s has no consumer: %s", self._route.queue, error)
            if self._asks.get(tenant) is ask:
                self._end(tenant)
            return
        self._known.add(tenant)
        if self._asks.get(tenant) is ask and self._open:
            self._pull(tenant, ask)

    def _pull(self, tenant: str, ask: Ask) -> None:
        name = self._route.consumer_name(tenant)
        request = json.dumps({"batch": ask.left, "no_wait": True}).encode()
        self._link.send(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._route.stream}.{name}",
            request,
            f"{self._inbox}.{tenant}.{ask.number}",
        )

    def _on_message(self, message: Incoming) -> None:
        if is_message(message):
            self._on_delivery(message)
            return
        _, tenant, number = message.subject.rsplit(".", 2)
        ask = self._asks.get(tenant)
        if ask is None or ask.number != int(number) or message.status == "100":
            return
        if message.status not in ("404", "408"):
            # The consumer went after its idle time, or with its stream.
            self._known.discard(tenant)
        self._end(tenant)
        self.rearm()

    def _on_delivery(self, message: Incoming) -> None:
        delivery = self._intake.take(message)
        tenant = self._route.tenant_of(message.subject)
        self._look_s = LOOK_S[0]
        if ask := self._asks.get(tenant):
            ask.left -= 1
            self._asked -= 1
            if not ask.left or not delivery.pending:
                ask.again |= delivery.pending > 0
                self._end(tenant)
        self._link.at_end(self.rearm)

    def _end(self, tenant: str) -> None:
        ask = self._asks.pop(tenant)
        self._asked -= ask.left
        if ask.again:
            self._queue_up(tenant)

    def _queue_up(self, tenant: str) -> None:
        if tenant not in self._waiting:
            self._waiting.add(tenant)
            self._turns.append(tenant)

    def _look_soon(self, pause_s: float) -> None:
        if self._open and not self._looking:
            self._looking = True
            self._link.loop.call_later(pause_s, self._look)

    def _look(self) -> None:
        # Also while there is no room: else a backlog would hide who came after it.
        if self._link.is_online:
            self._link.spawn(self._discover())
        else:
            self._looking = False
            self._look_soon(LOOK_S[0])

    async def _discover(self) -> None:
        try:
            found, _ = await stored_by_subject(
                self._link, self._route.stream, self._route.filter()
            )
            self._look_s = LOOK_S[0] if found else min(LOOK_S[1], self._look_s * 1.5)
            self.notice({self._route.tenant_of(subject) for subject in found})
        except UnavailableError:
            self._look_s = LOOK_S[1]
        except ApiError as error:
            self._look_s = LOOK_S[1]
            if error.err_code != STREAM_NOT_FOUND:
                raise
            await self._intake.topology.ensure_stream(self._link, self._route.stream)
        finally:
            self._looking = False
            self._look_soon(self._look_s)
