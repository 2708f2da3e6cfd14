"""A circuit breaker's rule: when a config's calls stop, and how they begin again.

After a group whose calls found the provider failing, groups go out one at a time, as
probes. A probe that is answered closes the breaker. After some failures in a row, or
where half of all calls fail, it opens: nothing goes out for a while, then one probe.
Pure; `hot_state.breaker` keeps the state, one for all workers.
"""

from dataclasses import asdict, dataclass, replace
from typing import Self

import orjson


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """When a breaker opens, and for how long.

    Attributes:
        failures: So many groups in a row that failed open it.
        rate: So does this part of the calls of a window,
        least_calls: if there were at least so many.
        window_s: How long calls are counted together, in seconds.
        wait_s: How long it stays open at first; twice as long after each probe
            that fails,
        longest_wait_s: but never longer than this.
        probe_s: A probe that is not reported within this time is forgotten.
        turn_s: How long others wait while a probe is under way; where the breaker is
            open they wait as long as it was.
    """

    failures: int = 5
    rate: float = 0.5
    least_calls: int = 20
    window_s: float = 30.0
    wait_s: float = 5.0
    longest_wait_s: float = 60.0
    probe_s: float = 45.0
    turn_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Passage:
    """Whether a group of calls may begin.

    Attributes:
        wait_s: Seconds to wait; 0.0: it may.
        ticket: Names this group in its report.
        is_probe: The breaker waits for what becomes of this group.
        open_for_s: How long the provider has been failing; 0.0 while it is closed.
    """

    wait_s: float
    ticket: str
    is_probe: bool = False
    open_for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Calls:
    """What a group came to.

    Attributes:
        made: Calls that began.
        faults: Those of them that found the provider failing.
    """

    made: int
    faults: int

    @property
    def is_failed(self) -> bool:
        """Tell whether the group speaks against the provider."""
        return self.made > 0 and 2 * self.faults >= self.made


@dataclass(frozen=True, slots=True)
class Circuit:
    """A breaker's state; times are in seconds of the clock of whoever keeps it.

    Attributes:
        failed: Groups that failed in a row; 0 while it is closed.
        opened_at: When it opened; none while it lets probes through at once.
        until: When the next probe may go out.
        wait_s: How long it stays open this time.
        probe: The ticket of the probe under way, or empty.
        probe_until: When that probe is forgotten.
        since: When the window began.
        calls: Calls in the window.
        faults: Those of them that found the provider failing.
    """

    failed: int = 0
    opened_at: float | None = None
    until: float = 0.0
    wait_s: float = 0.0
    probe: str = ""
    probe_until: float = 0.0
    since: float = 0.0
    calls: int = 0
    faults: int = 0

    def to_text(self) -> str:
        """Return the state as it is kept; empty for one that knows nothing."""
        return "" if self == Circuit() else orjson.dumps(asdict(self)).decode()

    @classmethod
    def of_text(cls, text: str | bytes) -> Self:
        """Read what `to_text` wrote."""
        return cls(**orjson.loads(text)) if text else cls()

    def passed(
        self, ticket: str, now: float, rule: BreakerRule
    ) -> tuple["Circuit", Passage]:
        """Return whether a group may begin, and the state after it began."""
        if not self.failed:
            return self, Passage(0.0, ticket)
        open_for_s = 0.0 if self.opened_at is None else max(0.0, now - self.opened_at)
        wait_s = self.until - now
        if wait_s <= 0 and self.probe and now < self.probe_until:
            turn_s = rule.turn_s if self.opened_at is None else self.wait_s
            wait_s = min(turn_s, self.probe_until - now)
        if wait_s > 0:
            return self, Passage(wait_s, ticket, open_for_s=open_for_s)
        taken = replace(self, probe=ticket, probe_until=now + rule.probe_s)
        return taken, Passage(0.0, ticket, is_probe=True, open_for_s=open_for_s)

    def noted(self, answered: int, now: float, rule: BreakerRule) -> "Circuit":
        """Return the state with calls counted that were answered meanwhile."""
        return _counted(self, answered, 0, now, rule) if answered else self

    def reported(
        self, passage: Passage, done: "Calls", now: float, rule: BreakerRule
    ) -> "Circuit":
        """Return the state after a group's calls.

        A group of no calls only gives its turn back. One that began before the
        provider failed proves nothing about what came later.
        """
        mine = passage.is_probe and passage.ticket == self.probe
        state = replace(self, probe="", probe_until=0.0) if mine else self
        if not done.made:
            return state
        state = _counted(state, done.made, done.faults, now, rule)
        if not done.is_failed:
            return _closed(state) if mine else state
        return _failed(state, now, rule, mine=mine)


@dataclass(frozen=True, slots=True)
class BreakerSeen:
    """A breaker as it is shown.

    Attributes:
        state: `closed`, `half-open` while single probes go out, or `open`.
        open_for_s: How long it has been open, in seconds; 0.0 where it is not.
        next_probe_in_s: Seconds until the next probe may go out.
    """

    state: str = "closed"
    open_for_s: float = 0.0
    next_probe_in_s: float = 0.0

    @classmethod
    def of(cls, circuit: Circuit, now: float) -> "BreakerSeen":
        """Return how a state looks at a time."""
        if not circuit.failed:
            return cls()
        left_s = max(0.0, circuit.until - now)
        if circuit.opened_at is None:
            return cls("half-open")
        return cls(
            "open" if left_s else "half-open", max(0.0, now - circuit.opened_at), left_s
        )

    def reason(self, fallback: str | None = None) -> str:
        """Return why a batch waits, as a tenant may read it; empty: not for this.

        With the name of a fall-back it says that this one sends meanwhile.
        """
        if not self.open_for_s:
            return ""
        minutes = int(self.open_for_s // 60)
        since = f"{minutes} min" if minutes else "a moment"
        text = (
            f"The provider has been failing for {since}; it is tried again by itself."
        )
        return f"{text} Meanwhile “{fallback}” sends." if fallback else text


def _counted(
    state: Circuit, calls: int, faults: int, now: float, rule: BreakerRule
) -> Circuit:
    if now - state.since > rule.window_s:
        return replace(state, since=now, calls=calls, faults=faults)
    return replace(state, calls=state.calls + calls, faults=state.faults + faults)


def _closed(state: Circuit) -> Circuit:
    """Return the state after a probe was answered; what opened it is forgotten."""
    if state.opened_at is not None:
        return Circuit()
    return Circuit(since=state.since, calls=state.calls, faults=state.faults)


def _failed(state: Circuit, now: float, rule: BreakerRule, *, mine: bool) -> Circuit:
    """Return the state after a group failed; only a probe's failure prolongs it."""
    state = replace(state, failed=state.failed + 1)
    if state.opened_at is not None:
        wait_s = min(2 * state.wait_s, rule.longest_wait_s)
        return replace(state, wait_s=wait_s, until=now + wait_s) if mine else state
    is_bad = state.calls >= rule.least_calls and state.faults >= rule.rate * state.calls
    if state.failed < rule.failures and not is_bad:
        return state
    return replace(state, opened_at=now, wait_s=rule.wait_s, until=now + rule.wait_s)
