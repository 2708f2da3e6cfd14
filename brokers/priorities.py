"""Priority classes: the higher ones first, and a share for the others.

A queue with classes has a subject and a consumer for each; class 0 has those that it
would have without classes. Of a class with messages as many are asked for as there is
room; any other class has one request standing at the server, which brings its next
message at once and tells whether there are more.
"""

import itertools
import json
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

from dramatiq.actor import Actor
from dramatiq.message import Message

from brokers.errors import ApiError, UnavailableError
from brokers.intake import Intake, is_message
from brokers.pulls import EXPIRES_S, HEARTBEAT_S
from brokers.routes import Route
from brokers.wire import Incoming

#: For messages, and for actors, through middleware.
OPTION = "broker_priority"
#: Of so many messages asked for, one is of a lower class, if there is any.
SHARE = 8
#: An answer to a request that must be answered at once is lost after this long.
LOST_S = 5.0

_log = logging.getLogger(__name__)


def class_of(
    message: Message[Any], route: Route, actors: Mapping[str, Actor[Any, Any]]
) -> Route:
    """Return the route of the message's class; the queue's where it has no classes.

    The message's option counts, else its actor's, else it is of class 0.

    Raises:
        ValueError: There is no such class.
    """
    if route.max_priority is None:
        return route
    priority = message.options.get(OPTION)
    if priority is None:
        actor = actors.get(message.actor_name)
        priority = actor.options.get(OPTION) if actor is not None else None
    if priority is None:
        return route
    if type(priority) is not int or not 0 <= priority <= route.max_priority:
        raise ValueError(
            f"Queue {route.queue} has priorities from 0 to {route.max_priority}, "
            f"not {priority!r}."
        )
    return route.classes[priority]


class Turns:
    """Says which class is next, so that none with messages waits for ever.

    The highest class has all turns but each `SHARE`-th, which the others have one
    after the other: between two turns of a class there are at most `SHARE` turns for
    each class with messages below the highest.
    """

    def __init__(self, classes: int) -> None:
        self._number = 0
        self._others = deque(range(classes))

    def next(self, highest: int, others: set[int]) -> int:
        """Return a class; `others` are those with messages that may be asked."""
        self._number += 1
        if self._number % SHARE or not others:
            return highest
        one = next(one for one in self._others if one in others)
        self._others.remove(one)
        self._others.append(one)
        return one


class Lane:
    """One class of a queue, as the source sees it.

    Attributes:
        route: Its route.
        has_more: Whether the server may have messages of it at once.
        asked: How many messages may still come.
        number: Tells the answers to the latest request from those to earlier ones.
        heard_at: When the server last answered, on the loop's clock.
        is_known: Whether its consumer was there.
        is_failing: Not to be asked before the next tick.
    """

    def __init__(self, route: Route) -> None:
        self.route = route
        self.heard_at = 0.0
        self.forget()

    def forget(self) -> None:
        """Know nothing, as at first."""
        self.has_more = True
        self.asked = 0
        self.number = 0
        self.is_known = False
        self.is_failing = False

    @property
    def is_idle(self) -> bool:
        """Tell whether it may be asked."""
        return not self.asked and not self.is_failing


class Lanes:
    """The source of a queue with classes: asks each one's consumer."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._link = intake.link
        self._lanes = [Lane(route) for route in intake.route.classes]
        self._by_subject = {lane.route.subject: lane for lane in self._lanes}
        self._turns = Turns(len(self._lanes))
        self._numbers = itertools.count(1)
        self._inbox = ""
        self._open = False

    async def open(self) -> None:
        """Make the consumers if need be and begin to ask.

        Raises:
            BrokerError: The server does not let us.
        """
        for lane in self._lanes:
            await self._intake.topology.ensure_consumer(self._link, lane.route)
            lane.is_known = True
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

    def notice(self, tenants: frozenset[str]) -> None:
        """Nothing to do: requests of all classes wait at the server."""

    def rearm(self) -> None:
        """Ask the classes for as many messages as there is room for."""
        if not self._open or not self._link.is_online:
            return
        free = self._intake.free(sum(lane.asked for lane in self._lanes))
        for lane in reversed(self._lanes):
            if free > 0 and lane.is_idle and not lane.has_more:
                self._ask(lane, 1)
                free -= 1
        # Asking for few is dear. A place for each class but one is not counted: those
        # may all be taken by requests that stand, and then nothing would end them.
        if free * 4 >= self._intake.limit - len(self._lanes) + 1:
            for number, places in self._shares(free).items():
                self._ask(self._lanes[number], places)

    def on_connected(self) -> None:
        """Begin again: what was asked before is lost."""
        for lane in self._lanes:
            lane.forget()
        self.rearm()

    def on_disconnected(self) -> None:
        """Nothing to do before the server is back."""

    def on_tick(self) -> None:
        """Give up requests whose answers are lost; try again what failed."""
        now = self._link.loop.time()
        for lane in self._lanes:
            lane.is_failing = False
            limit_s = LOST_S if lane.has_more else 2.5 * HEARTBEAT_S
            if lane.asked and now - lane.heard_at > limit_s:
                lane.forget()
        self.rearm()

    def _shares(self, room: int) -> dict[int, int]:
        """Return how many messages to ask each class for that has some."""
        full = [
            number
            for number, lane in enumerate(self._lanes)
            if lane.has_more and not lane.is_failing
        ]
        idle = {n for n in full if self._lanes[n].is_idle}
        shares: dict[int, int] = {}
        # While the highest class is asked its places are kept for it.
        while room > 0 and idle and full[-1] in idle:
            one = self._turns.next(full[-1], idle - {full[-1]})
            shares[one] = shares.get(one, 0) + 1
            room -= 1
        return shares

    def _ask(self, lane: Lane, places: int) -> None:
        lane.asked, lane.number = places, next(self._numbers)
        lane.heard_at = self._link.loop.time()
        if lane.is_known:
            self._pull(lane)
        else:
            self._link.spawn(self._make_and_pull(lane, lane.number))

    async def _make_and_pull(self, lane: Lane, number: int) -> None:
        try:
            await self._intake.topology.ensure_consumer(self._link, lane.route)
        except (ApiError, UnavailableError) as error:
            _log.warning("Queue %s has no consumer: %s", lane.route.queue, error)
            if lane.number == number:
                self._fail(lane)
            return
        lane.is_known = True
        if lane.number == number and self._open:
            self._pull(lane)

    def _pull(self, lane: Lane) -> None:
        request: dict[str, Any] = {"batch": lane.asked, "no_wait": True}
        if not lane.has_more:
            request = {
                "batch": 1,
                "expires": int(EXPIRES_S * 1e9),
                "idle_heartbeat": int(HEARTBEAT_S * 1e9),
            }
        route = lane.route
        self._link.send(
            f"$JS.API.CONSUMER.MSG.NEXT.{route.stream}.{route.consumer_name()}",
            json.dumps(request).encode(),
            f"{self._inbox}.{self._lanes.index(lane)}.{lane.number}",
        )

    def _on_message(self, message: Incoming) -> None:
        if is_message(message):
            self._on_delivery(message)
            return
        _, place, number = message.subject.rsplit(".", 2)
        lane = self._lanes[int(place)]
        if lane.number == int(number):
            self._on_status(lane, message.status)

    def _on_delivery(self, message: Incoming) -> None:
        delivery = self._intake.take(message)
        lane = self._by_subject[message.subject]
        lane.heard_at = self._link.loop.time()
        lane.has_more = delivery.pending > 0
        # What is asked for at once ends with the last message that there is.
        lane.asked = max(0, lane.asked - 1) if lane.has_more else 0
        self._link.at_end(self.rearm)

    def _on_status(self, lane: Lane, status: str) -> None:
        lane.heard_at = self._link.loop.time()
        if status == "100":
            return
        if status in ("404", "408"):
            lane.asked, lane.has_more = 0, False
            self.rearm()
        else:
            # The consumer went, or its leader changes.
            self._fail(lane)

    @staticmethod
    def _fail(lane: Lane) -> None:
        lane.forget()
        lane.is_failing = True
