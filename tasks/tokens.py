"""The tokens that one delivery has in hand, and which calls they are for."""

from collections.abc import Sequence

from hot_state.limiter import Limiter
from models import bits
from models.chunk import CallIntent
from models.plan import Plan
from tasks.ledger_row import now_s
from tasks.worker import Sender

#: Recipients in a group where a call takes one.
SINGLES_IN_GROUP = 50
#: Tokens are used within this time or given back.
FRESH_S = 1.0


class Tokens:
    """Takes tokens for whole groups of calls, from all levels or from none."""

    def __init__(self, limiter: Limiter, sender: Sender) -> None:
        self._limiter = limiter
        self._sender = sender
        self._held = 0
        self._taken_at = 0.0

    def for_next_calls(self, members: int) -> tuple[list[int], float]:
        """Return the next group of calls to `members` with their tokens, or the wait.

        No members, no calls and no wait.
        """
        calls = next_group(members, self._sender.plan)
        return calls, self._taken(calls) if calls else 0.0

    def secured(self, calls: Sequence[CallIntent]) -> float:
        """Return 0.0 with fresh tokens for these calls in hand, or the wait.

        Tokens that lay for a second while Postgres was slow are not used: ten workers
        must not fire together what the limit had spread (rule 4a).
        """
        if self._held and now_s() - self._taken_at < FRESH_S:
            return 0.0
        self.give_back()
        return self._taken([call.members for call in calls])

    def used(self) -> None:
        """Note that the calls began."""
        self._held = 0

    def give_back(self) -> None:
        """Return tokens for calls that did not begin."""
        if self._held:
            self._limiter.give_back(self._sender.buckets, self._held)
            self._held = 0

    def _taken(self, calls: Sequence[int]) -> float:
        tokens = len(calls)
        if self._sender.plan.capabilities.counts == "recipients":
            tokens = sum(members.bit_count() for members in calls)
        wait_s = self._limiter.take(self._sender.buckets, tokens)
        if not wait_s:
            self._held, self._taken_at = tokens, now_s()
        return wait_s


def next_group(members: int, plan: Plan) -> list[int]:
    """Cut the next group of calls from those who are open.

    It is one call; or several where a call takes one, but no more than the burst
    lets through at once, else their tokens could never be taken.
    """
    call = plan.grid.call
    places = bits.positions(members)
    if call > 1:
        return [bits.of_positions(places[:call])] if places else []
    most = max(1, min(SINGLES_IN_GROUP, int(plan.limit.burst)))
    return [1 << at for at in places[:most]]
