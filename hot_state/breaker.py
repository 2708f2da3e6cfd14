"""Circuit breakers that all workers share, one for each config.

Dragonfly keeps their state; the rule is `models.breaker`. Where Dragonfly does not
answer, each process goes by what its own calls find: a breaker saves calls, and the
ledger needs none of it. So it fails open, but for what this process has seen itself.

Nothing is asked more often than it may change: while all goes well a process looks a
few times a second, and tells nothing.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal
from uuid import uuid4

import redis

from hot_state import keys
from hot_state.client import Script
from models.breaker import BreakerRule, BreakerSeen, Calls, Circuit, Passage
from models.errors import NeighbourUnavailableError

#: What a report can bring about.
Change = Literal["opened", "closed", ""]

#: How long a process relies on itself before it asks Dragonfly again.
AWAY_S = 0.5
#: How long a breaker that was seen closed is taken to be closed. Own failures count
#: at once, so that each thread meets at most one without a probe's leave.
FRESH_S = 0.25

_SWAP = Script("swap_breaker")


@dataclass(slots=True)
class _Known:
    """What a process knows of a breaker; times are its own.

    Attributes:
        closed_until: It was seen closed and is taken for that until then.
        answered: Calls answered since `counted_at` that nobody was told of.
        own: The breaker of the time without Dragonfly.
    """

    closed_until: float = 0.0
    answered: int = 0
    counted_at: float = 0.0
    own: Circuit = field(default_factory=Circuit)


class Breakers:
    """Lets groups of calls pass, and learns what became of them; safe for threads."""

    def __init__(
        self,
        client: redis.Redis,
        rule: BreakerRule | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without a connection; the client is from `hot_state.client`."""
        self._client = client
        self._rule = rule or BreakerRule()
        self._clock = clock
        self._lock = Lock()
        self._known: dict[str, _Known] = {}
        self._ask_at = 0.0
        self._tickets = (f"{uuid4().hex}.{n}" for n in itertools.count())

    def passage(self, scope: str) -> Passage:
        """Return whether a group may begin; each that may must be reported."""
        with self._lock:
            known = self._known.setdefault(scope, _Known())
            ticket = next(self._tickets)
            if known.closed_until > self._clock():
                return Passage(0.0, ticket)
        found: list[Passage] = []

        def step(circuit: Circuit, now: float) -> Circuit:
            after, passage = circuit.passed(ticket, now, self._rule)
            found.append(passage)
            return after

        after = self._changed(scope, step)[1]
        if not after.failed:
            with self._lock:
                known.closed_until = self._clock() + FRESH_S
        return found[-1]

    def report(self, scope: str, passage: Passage, done: Calls) -> Change:
        """Take in what became of a group that had passed; once.

        Returns what that did to the breaker.
        """
        if not passage.is_probe and not done.is_failed:
            self._note(scope, done.made)
            return ""
        answered = self._noted(scope)

        def step(circuit: Circuit, now: float) -> Circuit:
            counted = circuit.noted(answered, now, self._rule)
            return counted.reported(passage, done, now, self._rule)

        before, after = self._changed(scope, step)
        if before.opened_at is None and after.opened_at is not None:
            return "opened"
        if before.opened_at is not None and after.opened_at is None:
            return "closed"
        return ""

    def of_config(self, config_id: str) -> BreakerSeen:
        """Return how a config's breaker stands.

        Raises:
            NeighbourUnavailableError: Dragonfly does not answer.
        """
        _, circuit, now = self._ask(scope_of(config_id), "read", "", "")
        return BreakerSeen.of(circuit, now)

    def _note(self, scope: str, answered: int) -> None:
        with self._lock:
            known = self._known.setdefault(scope, _Known())
            if self._clock() - known.counted_at > self._rule.window_s:
                known.answered, known.counted_at = 0, self._clock()
            known.answered += answered

    def _noted(self, scope: str) -> int:
        """Return what was not told yet; from now on nothing is taken for closed."""
        self._note(scope, 0)
        with self._lock:
            known = self._known[scope]
            answered, known.answered = known.answered, 0
            known.closed_until = 0.0
            return answered

    def _changed(
        self, scope: str, step: Callable[[Circuit, float], Circuit]
    ) -> tuple[Circuit, Circuit]:
        """Return the state before and after a step."""
        if self._clock() >= self._ask_at:
            try:
                return self._swapped(scope, step)
            except NeighbourUnavailableError:
                self._ask_at = self._clock() + AWAY_S
        with self._lock:
            known = self._known.setdefault(scope, _Known())
            before = known.own
            known.own = step(before, self._clock())
            return before, known.own

    def _swapped(
        self, scope: str, step: Callable[[Circuit, float], Circuit]
    ) -> tuple[Circuit, Circuit]:
        _, before, now = self._ask(scope, "read", "", "")
        while True:
            after = step(before, now)
            if after == before:
                return before, after
            given = (before.to_text(), after.to_text())
            done, found, now = self._ask(scope, "swap", *given)
            if done:
                return before, after
            # Another worker was faster: the same step from where it left off.
            before = found

    def _ask(
        self, scope: str, mode: str, before: str, after: str
    ) -> tuple[bool, Circuit, float]:
        arguments = [mode, before, after, keys.BREAKER_TTL_S]
        done, found, now_us = _SWAP.run(self._client, [keys.breaker(scope)], arguments)
        return bool(done), Circuit.of_text(found), float(now_us) / 1e6


def scope_of(config_id: str) -> str:
    """Return a config's name among breakers."""
    return f"config:{config_id}"
