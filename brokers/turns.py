"""Whose turn it is: tenants in proportion to their weights, whatever their backlogs.

Each tenant has come so far: the messages that it was asked for, by its weight. Next is
who has come least far. Who was away begins where the others are, so that nobody saves
up turns; who got more than its part waits until the others have caught up.
"""

import heapq
import itertools

#: A stream and a tenant with messages in it.
Key = tuple[str, str]


class Turns:
    """Those that wait to be asked, in order; each at most once."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Key]] = []
        self._weights: dict[Key, int] = {}
        self._total = 0
        self._numbers = itertools.count()
        self._come: dict[Key, float] = {}
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

    def take(self, room: int) -> tuple[Key, int]:
        """Return who is next, and how many of `room` messages are its part: 1 or more.

        Raises:
            IndexError: Nobody waits.
        """
        start, _, key = heapq.heappop(self._heap)
        weight = self._weights.pop(key)
        part = max(min(weight, room), room * weight // self._total)
        self._total -= weight
        self._now = start
        self._come[key] = start + part / weight
        return key, part

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
