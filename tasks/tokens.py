"""What one delivery needs before its calls begin, and which calls those are.

The breaker's leave and tokens of all limits, for a whole group of calls or not at all.
While the provider fails, the fall-back's are asked for instead, for those who are in no
doubt.
"""

from collections.abc import Sequence

from models import bits
from models.chunk import CallIntent
from models.levels import Level, described
from models.limit import Shortage
from models.outcome import Answer
from models.plan import Plan
from tasks.ledger_row import now_s
from tasks.passing import Gate
from tasks.worker import Sender, Worker

#: Recipients in a group where a call takes one.
SINGLES_IN_GROUP = 50
#: Tokens are used within this time or given back.
FRESH_S = 1.0


class Route:
    """One config that a delivery may send by, and its breaker's leave."""

    def __init__(self, worker: Worker, sender: Sender) -> None:
        """Begin without leave."""
        self._worker = worker
        self.sender = sender
        self.plan = sender.plan
        self.gate = Gate(worker.breakers, sender.plan)

    @property
    def levels(self) -> Sequence[Level]:
        """Return the levels that limit it, by overrides of now."""
        return self._worker.limits.of(self.plan)

    def next_group(self, members: int) -> list[int]:
        """Cut the next group of calls from these members.

        It is one call; or several where a call takes one. What an override or the
        provider left of the burst may make it smaller than the grid's.
        """
        places, levels = bits.positions(members), self.levels
        call = self.plan.grid.call
        if call > 1:
            most = min(call, self._most("recipients", levels))
            return [bits.of_positions(places[:most])] if places else []
        most = min(
            SINGLES_IN_GROUP,
            self._most("recipients", levels),
            self._most("requests", levels),
        )
        return [1 << at for at in places[:most]]

    def _most(self, counts: str, levels: Sequence[Level]) -> int:
        limit_of = self._worker.limiter.limit_of
        buckets = (one.bucket for one in levels if one.bucket.counts == counts)
        limits = (limit_of(bucket).most_at_once for bucket in buckets)
        return min(limits, default=SINGLES_IN_GROUP)


class Tokens:
    """Takes tokens for whole groups of calls, from all levels or from none."""

    def __init__(self, worker: Worker, sender: Sender, *, urgent: bool) -> None:
        self._worker = worker
        self._limiter = worker.limiter
        self._urgent = urgent
        self._first = Route(worker, sender)
        self._fallback = Route(worker, sender.fallback) if sender.fallback else None
        # By whom the tokens in hand, or the last ones, were taken.
        self._route = self._first
        self._levels: Sequence[Level] = ()
        self._recipients = 0
        self._requests = 0
        self._taken_at = 0.0
        #: How long the provider, and its fall-back, have been failing, if that is why
        #: we wait.
        self.failing_for_s = 0.0

    @property
    def levels(self) -> Sequence[Level]:
        """Return the levels that the delivery's last tokens were asked from."""
        return self._levels or self._route.levels

    @property
    def plan(self) -> Plan:
        """Return by which config the tokens in hand were taken."""
        return self._route.plan

    @property
    def is_by_fallback(self) -> bool:
        """Tell whether the tokens in hand are the fall-back's."""
        return self._route is self._fallback

    def for_next_calls(
        self, members: int, *, doubt: int = 0
    ) -> tuple[list[int], float]:
        """Return the next group of calls to `members` with their tokens, or the wait.

        Tokens in hand for as many are used. No members, no calls and no wait. Who is in
        doubt waits for the first provider: the other knows nothing of that call.
        """
        self.failing_for_s = 0.0
        mine = members & ~doubt if self.is_by_fallback else members
        calls = self._route.next_group(mine)
        if calls and self._is_in_hand(calls):
            return calls, 0.0
        self.give_back()
        if not members:
            return [], 0.0
        calls, wait_s = self._taken_by(self._first, members)
        failing_for_s = self._first.gate.failing_for_s
        if not wait_s or not failing_for_s:
            return calls, wait_s
        return self._instead(members & ~doubt, calls, wait_s)

    def before_claiming(self, size: int) -> float:
        """Take the tokens of a chunk's first group, or return the wait for them.

        Asked for a message that came back: without tokens neither a claim nor
        rendering is any use.
        """
        return self.for_next_calls((1 << size) - 1)[1]

    def secured(self, calls: Sequence[CallIntent]) -> float:
        """Return 0.0 with fresh tokens for these calls in hand, or the wait.

        Tokens that lay for a second while Postgres was slow are not used: ten workers
        must not fire together what the limit had spread (rule 4a). Whose account was
        declared makes the calls, whatever its breaker says of the other.
        """
        members = [call.members for call in calls]
        route = self._route_of(calls[0].account)
        if route is self._route and self._is_in_hand(members):
            return 0.0
        self.give_back()
        return self._taken(route, members)

    def used(self, answers: Sequence[Answer]) -> None:
        """Note that the calls began, and what came of them."""
        self._recipients = self._requests = 0
        self._route.gate.report(answers)

    def give_back(self) -> None:
        """Return tokens, and the breaker's leave, for calls that did not begin."""
        self._route.gate.give_back()
        if self._requests:
            buckets = [level.bucket for level in self._levels]
            self._limiter.give_back(buckets, self._recipients, requests=self._requests)
            self._recipients = self._requests = 0

    def _instead(
        self, members: int, calls: list[int], wait_s: float
    ) -> tuple[list[int], float]:
        """Return calls by the fall-back; the first provider's wait where none may be.

        Of two that fail, the one that waits less is waited for.
        """
        failing_for_s = self._first.gate.failing_for_s
        other = self._fallback
        if other is None or not members or self._worker.accounts.is_held(other.plan):
            self.failing_for_s = failing_for_s
            return calls, wait_s
        instead, other_s = self._taken_by(other, members)
        if other_s and other.gate.failing_for_s:
            self.failing_for_s = min(failing_for_s, other.gate.failing_for_s)
            other_s = min(wait_s, other_s)
        return instead, other_s

    def _route_of(self, account: str) -> Route:
        other = self._fallback
        return other if other and other.plan.owns(account) else self._first

    def _is_in_hand(self, calls: Sequence[int]) -> bool:
        is_fresh = self._requests > 0 and now_s() - self._taken_at < FRESH_S
        return is_fresh and _size(calls) == (self._recipients, self._requests)

    def _taken_by(self, route: Route, members: int) -> tuple[list[int], float]:
        calls = route.next_group(members)
        return calls, self._taken(route, calls)

    def _taken(self, route: Route, calls: Sequence[int]) -> float:
        """Return 0.0 with the breaker's leave and all tokens in hand, or the wait."""
        self._route, self._levels = route, route.levels
        wait_s = route.gate.wait_s()
        if wait_s:
            return wait_s
        wait_s = self._tokens_taken(route, calls)
        if wait_s:
            route.gate.give_back()
        return wait_s

    def _tokens_taken(self, route: Route, calls: Sequence[int]) -> float:
        levels = self._levels
        wait_s = self._worker.words.wait_for_account(
            route.plan, levels, route.sender.provider
        )
        if wait_s:
            return wait_s
        recipients, requests = _size(calls)
        buckets = [level.bucket for level in levels]
        shortage = self._limiter.ask(
            buckets, recipients, requests=requests, first=self._urgent
        )
        if shortage is not None:
            self._tell(shortage, levels)
            return shortage.wait_s
        self._recipients, self._requests = recipients, requests
        self._taken_at = now_s()
        return 0.0

    def _tell(self, shortage: Shortage, levels: Sequence[Level]) -> None:
        scope = shortage.bucket.scope
        level = next(one for one in levels if one.bucket.scope == scope)
        told = limited_by(level, shortage)
        self._worker.shortages.tell(self._first.plan.batch_id, told)


def limited_by(level: Level, shortage: Shortage) -> dict[str, object]:
    """Return what a batch waits for, as the API shows it."""
    return {
        "level": level.name,
        "perSecond": shortage.bucket.limit.per_s,
        "nowPerSecond": shortage.per_s,
        "counts": level.bucket.counts,
        "source": level.source,
        "text": described(level, shortage),
    }


def _size(calls: Sequence[int]) -> tuple[int, int]:
    return sum(members.bit_count() for members in calls), len(calls)
