"""Whose turn it is: tenants in proportion to their weights, whatever their backlogs.

Each tenant has come so far: the messages that it was asked for, by its weight. Next is
who has come least far. Who was away begins where the others are, so that nobody saves
up turns; who got more than its part waits until the others have caught up.

Whoever is just being asked waits for no turn, though it may be behind. So that it is
not passed by again and again, the others then wait for the answer, for a moment.
"""

import heapq
import itertools
from math import inf

#: A stream and a tenant with messages in it.
Key = tuple[str, str]
#: So far, in messages by weight, others may come ahead of who is just being asked …
AHEAD = 2.0
#: … and for so long they wait for it then.
HOLD_S = 0.05


class Turns:
    """Those that wait to be asked, in order; each at most once."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Key]] = []
        self._weights: dict[Key, int] = {}
        self._total = 0
        self._numbers = itertools.count()
        self._come: dict[Key, float] = {}
        self._asked: dict[Key, float] = {}
        self._now = 0.0

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._heap)

    def add(self, key: Key, weight: int) -> None:
        """Have the tenant wait for its turn; one that waits already keeps its place."""
        if key in self._weights:
            return
        self._weights[key] = weight
        self._total += weight
        start = max(self._now, self._come.get(key, 0.0))
        heapq.heappush(self._heap, (start, next(self._numbers), key))

    def take(self, room: int, at: float) -> tuple[Key, int] | None:
        """Return who is next, and how many of `room` messages are its part: 1 or more.

        None where nobody waits, or where all wait for one who is being asked.

        Args:
            room: How many messages there is room for.
            at: On the clock that `asked` is told.
        """
        if not self._heap:
            return None
        behind = self._furthest_behind(at)
        if self._heap[0][0] > behind + AHEAD:
            return None
        start, _, key = heapq.heappop(self._heap)
        weight = self._weights.pop(key)
        part = max(min(weight, room), room * weight // self._total)
        self._total -= weight
        self._now = max(self._now, min(start, behind))
        self._come[key] = start + part / weight
        return key, part

    def asked(self, key: Key, at: float) -> None:
        """Note that the tenant is being asked, until `answered`."""
        self._asked[key] = at

    def answered(self, key: Key, part: float) -> None:
        """Note that the tenant is not being asked any more.

        Args:
            key: The tenant.
            part: What it was asked for and did not have: messages by its weight.
        """
        self._asked.pop(key, None)
        self.give_back(key, part)

    def reset(self) -> None:
        """Note that nobody is being asked any more."""
        self._asked.clear()

    def give_back(self, key: Key, part: float) -> None:
        """Take back what a tenant was asked for and did not have.

        Args:
            key: The tenant.
            part: The number of messages by its weight.
        """
        if key in self._come:
            self._come[key] -= part

    def tidy(self) -> None:
        """Forget who is no further than the others, and all where nobody waits."""
        if not self._heap:
            self._now = max(self._come.values(), default=self._now)
        ahead = {key: come for key, come in self._come.items() if come > self._now}
        self._come = ahead

    def _furthest_behind(self, at: float) -> float:
        """Return how far the last of those has come who have just been asked."""
        return min(
            (
                self._come.get(key, inf)
                for key, since in self._asked.items()
                if at - since < HOLD_S
            ),
            default=inf,
        )
