"""The source of a queue with tenants: each tenant with a backlog gets its turn.

Every tenant has a consumer of its own. Those known to have messages stand in a ring;
whoever is asked gives its share of the free places and goes behind the others, so that
no backlog, however long, is in another tenant's way. Who has messages is heard from
the streams (`brokers/wakes.py`), told by what this process itself publishes, and, where
neither is enough, read off the streams' subjects.
"""

import asyncio
import itertools
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from brokers.caps import Caps
from brokers.errors import ApiError, UnavailableError
from brokers.intake import Intake, is_message
from brokers.routes import Route
from brokers.shards import earlier_parts, shard
from brokers.stored import stored_by_subject
from brokers.tenants import Shares
from brokers.topology import STREAM_NOT_FOUND
from brokers.turns import HOLD_S, Key, Turns
from brokers.wakes import Wakes
from brokers.wire import Incoming

#: How often to look who has messages, at first and when nothing comes.
LOOK_S = (0.25, 1.0)
#: An answer to a request that must be answered at once is lost after this long.
LOST_S = 5.0
#: So long a tenant at its cap keeps its places; the server tells no sooner.
AT_CAP_S = 0.005
#: At most so many consumers are made at a time.
MOST_MAKING = 16
#: How often to look for streams of earlier numbers of shards.
EARLIER_S = 30.0
#: Beyond so many tenants those are forgotten that were long not asked.
MANY = 10_000

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Ask:
    """A request for one tenant's messages.

    Attributes:
        number: Tells its answers from those to an earlier one.
        left: How many messages may still come.
        at: When it was made, on the loop's clock.
        weight: The tenant's weight at that time.
        is_capped: Whether the tenant had a cap at that time.
        is_first: Whether the consumer was made for it.
        again: Whether the tenant got messages that the request may have missed.
    """

    number: int
    left: int
    at: float
    weight: int
    is_capped: bool
    is_first: bool = False
    again: bool = False


@dataclass(slots=True)
class Made:
    """A consumer that there is, as far as we know.

    Attributes:
        cap: The cap that it was given.
        at: When it was made or last asked, on the loop's clock.
    """

    cap: int | None
    at: float


class Ring:
    """Asks the tenants in turn for messages, at most once at a time each."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._link = intake.link
        self._route = intake.route
        parts = intake.topology.parts(self._route.queue)
        self._parts: dict[str, Route] = {part.stream: part for part in parts}
        self._own = frozenset(self._parts)
        self._inbox = ""
        self._numbers = itertools.count(1)
        self._turns = Turns()
        self._shares = Shares(self._route.queue, self._route.tenants)
        self._caps = Caps()
        self._wakes = Wakes(self._link, parts, self._on_wake)
        self._asks: dict[Key, Ask] = {}
        self._asked = 0
        self._made: dict[Key, Made] = {}
        self._making: dict[Key, float] = {}
        self._look_s = LOOK_S[0]
        self._looking = False
        self._earlier_at = -EARLIER_S
        self._open = False

    async def open(self) -> None:
        """Make the streams if need be and begin to ask.

        Raises:
            BrokerError: The server does not let us.
        """
        topology = self._intake.topology
        for stream in self._own:
            if not topology.is_ready(stream):
                await topology.ensure_stream(self._link, stream)
        self._inbox = await self._link.listen(self._on_message)
        await self._wakes.open()
        self._open = True
        self._link.watch(self)
        self._intake.in_flight.when_free(self._route.queue, self.rearm)
        self._look_soon(0.0)

    async def close(self) -> None:
        """Ask no more; what still comes is given back by the ack wait's end."""
        self._open = False
        self._link.unwatch(self)
        await asyncio.gather(self._wakes.close(), self._link.unlisten(self._inbox))

    def rearm(self) -> None:
        """Ask the next tenants in the ring, while there is room."""
        if not self._open or not self._link.is_online:
            return
        for key in self._caps.freed():
            self._queue_up(key)
        room = self._intake.room(self._asked)
        now = self._link.loop.time()
        while room > 0 and self._may_ask(now) and (turn := self._turns.take(room, now)):
            key, part = turn
            room -= self._ask(key, part)

    def _may_ask(self, now: float) -> bool:
        """Tell whether not too many wait for their consumers to be made.

        Else all small tenants would, and a large one would have all the room. Not for
        long: where a consumer cannot be made, the others go on.
        """
        fresh = sum(now - at < HOLD_S for at in self._making.values())
        return fresh < MOST_MAKING

    def notice(self, tenants: Iterable[str]) -> None:
        """Give tenants that have messages a place in the ring."""
        parts = self._intake.topology.parts(self._route.queue)
        self._notice([(shard(parts, {"tenant": one}).stream, one) for one in tenants])

    def on_connected(self) -> None:
        """Begin again: consumers in memory may be gone, and requests are lost."""
        self._made.clear()
        self._asks.clear()
        self._caps.clear()
        self._turns.reset()
        self._asked = 0
        self._look_soon(0.0)

    def on_disconnected(self) -> None:
        """Nothing to do before the server is back."""

    def on_tick(self) -> None:
        """Give up requests whose answers are lost, and forget who is long gone."""
        now = self._link.loop.time()
        for key, ask in list(self._asks.items()):
            if now - ask.at > LOST_S:
                self._made.pop(key, None)
                self._end(key)
        if len(self._made) > MANY:
            idle_s = self._intake.topology.settings.idle_tenant_s
            made = self._made.items()
            self._made = {key: one for key, one in made if now - one.at < idle_s}
        self._turns.tidy()
        self._wakes.on_tick()
        self.rearm()

    def _notice(self, keys: Iterable[Key]) -> None:
        if not self._open:
            return
        for key in keys:
            if ask := self._asks.get(key):
                ask.again = True
            else:
                self._queue_up(key)
        self._link.at_end(self.rearm)

    def _on_wake(self, stream: str, subject: str) -> None:
        if part := self._parts.get(stream):
            self._notice([(stream, part.tenant_of(subject))])

    def _ask(self, key: Key, part: int) -> int:
        """Ask the tenant, and return for how many messages: at most its part."""
        now = self._link.loop.time()
        given = self._shares.of(key[1])
        count = part
        if given.cap is not None:
            count = min(part, self._caps.room(key, given.cap))
            self._turns.give_back(key, (part - count) / given.weight)
            if not count:
                return 0
        number, capped = next(self._numbers), given.cap is not None
        ask = self._asks[key] = Ask(number, count, now, given.weight, capped)
        self._asked += count
        made = self._made.get(key)
        if made is not None and made.cap == given.cap:
            made.at = now
            self._pull(key, ask)
        else:
            self._making[key] = now
            self._link.spawn(self._make_and_pull(key, ask))
        self._turns.asked(key, now)
        return count

    async def _make_and_pull(self, key: Key, ask: Ask) -> None:
        stream, tenant = key
        part, topology = self._parts[stream], self._intake.topology
        await self._shares.refresh([tenant])
        cap = self._shares.of(tenant).cap
        try:
            await topology.ensure_consumer(self._link, part, tenant, cap=cap)
        except (ApiError, UnavailableError) as error:
            _log.warning("A tenant of %s has no consumer: %s", self._route.queue, error)
            if self._asks.get(key) is ask:
                self._end(key)
            return
        finally:
            self._making.pop(key, None)
            self._link.at_end(self.rearm)
        self._made[key] = Made(cap, self._link.loop.time())
        if self._asks.get(key) is ask and self._open:
            ask.is_first, ask.is_capped = True, cap is not None
            self._pull(key, ask)

    def _pull(self, key: Key, ask: Ask) -> None:
        stream, tenant = key
        request: dict[str, object] = {"batch": ask.left, "no_wait": True}
        if ask.is_capped:
            # At a cap the server would keep the request, and not say so.
            request["expires"] = int(AT_CAP_S * 1e9)
        self._link.send(
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{self._route.consumer_name(tenant)}",
            json.dumps(request).encode(),
            f"{self._inbox}.{stream}.{tenant}.{ask.number}",
        )

    def _on_message(self, message: Incoming) -> None:
        if is_message(message):
            self._on_delivery(message)
            return
        _, stream, tenant, number = message.subject.rsplit(".", 3)
        key = (stream, tenant)
        ask = self._asks.get(key)
        if ask is None or ask.number != int(number) or message.status == "100":
            return
        if message.status not in ("404", "408"):
            # The consumer went after its idle time, or with its stream.
            self._made.pop(key, None)
            ask.again |= not ask.is_first
        elif ask.is_capped:
            self._caps.refused(key)
        self._end(key)
        self._link.at_end(self.rearm)

    def _on_delivery(self, message: Incoming) -> None:
        delivery = self._intake.take(message)
        stream = delivery.stream
        key = (stream, self._parts[stream].tenant_of(message.subject))
        self._look_s = LOOK_S[0]
        if ask := self._asks.get(key):
            if ask.is_capped:
                self._caps.took(key, delivery)
            ask.left -= 1
            self._asked -= 1
            if not ask.left or not delivery.pending:
                ask.again |= delivery.pending > 0
                self._end(key)
        self._link.at_end(self.rearm)

    def _end(self, key: Key) -> None:
        ask = self._asks.pop(key)
        self._asked -= ask.left
        self._turns.answered(key, ask.left / ask.weight)
        if ask.again:
            self._queue_up(key)

    def _queue_up(self, key: Key) -> None:
        given = self._shares.of(key[1])
        if given.cap is None or self._caps.room(key, given.cap):
            self._turns.add(key, given.weight)

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
            await self._find_earlier()
            parts = list(self._parts.values())
            looks = await asyncio.gather(*(self._backlog(part) for part in parts))
            found = set().union(*looks)
            self._look_s = LOOK_S[0] if found else min(LOOK_S[1], self._look_s * 1.5)
            await self._shares.refresh({tenant for _, tenant in found})
            self._notice(found)
        except UnavailableError:
            self._look_s = LOOK_S[1]
        finally:
            self._looking = False
            self._look_soon(self._look_s)

    async def _find_earlier(self) -> None:
        """Find what the tenants have in streams of earlier numbers of shards."""
        now = self._link.loop.time()
        if now - self._earlier_at >= EARLIER_S:
            for part in await earlier_parts(self._link, self._route):
                self._parts[part.stream] = part
            self._earlier_at = now

    async def _backlog(self, part: Route) -> set[Key]:
        """Return those who have messages in one of the streams."""
        try:
            found, _ = await stored_by_subject(self._link, part.stream, part.filter())
        except ApiError as error:
            if error.err_code != STREAM_NOT_FOUND:
                raise
            if part.stream in self._own:
                await self._intake.topology.ensure_stream(self._link, part.stream)
            return set()
        return {(part.stream, part.tenant_of(subject)) for subject in found}
