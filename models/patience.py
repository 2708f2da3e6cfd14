"""How long somebody who is refused for now is called again, and who that was.

Without an end to it, a recipient whom the provider never takes and never refuses for
good would keep a batch open for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

#: Refused less often than this, nobody has failed for its age alone: a batch may have
#: stood still for days between two calls.
LEAST_TIMES = 3


@dataclass(frozen=True, slots=True)
class Patience:
    """When a refusal for now becomes one for good.

    Attributes:
        for_s: Seconds from the first refusal; also how long a provider may fail
            before those who wait for it have failed.
        times: Refusals of one recipient; none: any number.
    """

    for_s: float = 24 * 3600.0
    times: int | None = None

    def is_over(self, refusal: "Refusal", at: float) -> bool:
        """Tell whether those have been refused long or often enough."""
        if self.times is not None and refusal.times >= self.times:
            return True
        return refusal.times >= LEAST_TIMES and at - refusal.since >= self.for_s


#: For configs that state nothing.
PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Recipients of a chunk who were refused together.

    Attributes:
        members: Their positions, as a set (see `models.bits`).
        since: When they were first refused, in seconds since the epoch.
        times: How often.
    """

    members: int
    since: float
    times: int

    def to_json(self) -> dict[str, Any]:
        """Return the shape kept in `chunks.refusals`."""
        return {
            "members": f"{self.members:x}",
            "since": self.since,
            "times": self.times,
        }

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(int(value["members"], 16), value["since"], value["times"])


def refused_again(
    refusals: Sequence[Refusal], members: int, at: float
) -> tuple[Refusal, ...]:
    """Return the refusals with these members refused once more."""
    found: dict[tuple[float, int], int] = {}
    left = members
    for one in refusals:
        again = one.members & members
        for who, times in ((one.members & ~again, one.times), (again, one.times + 1)):
            if who:
                key = (one.since, times)
                found[key] = found.get(key, 0) | who
        left &= ~again
    if left:
        found[at, 1] = left
    return tuple(Refusal(who, since, times) for (since, times), who in found.items())


def only(refusals: Sequence[Refusal], members: int) -> tuple[Refusal, ...]:
    """Return what is remembered of these members alone."""
    kept = (replace(one, members=one.members & members) for one in refusals)
    return tuple(one for one in kept if one.members)
