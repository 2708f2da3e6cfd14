"""What one delivery needs before its calls begin, and which calls those are.

The breaker's leave and tokens of all limits, for a whole group of calls or not at all.
"""

from collections.abc import Sequence

from models import bits
from models.chunk import CallIntent
from models.levels import Level, described
from models.limit import Shortage
from models.outcome import Answer
from tasks.ledger_row import now_s
from tasks.passing import Gate
from tasks.worker import Sender, Worker

#: Recipients in a group where a call takes one.
SINGLES_IN_GROUP = 50
#: Tokens are used within this time or given back.
FRESH_S = 1.0


class Tokens:
    """Takes tokens for whole groups of calls, from all levels or from none."""

    def __init__(self, worker: Worker, sender: Sender, *, urgent: bool) -> None:
        self._worker = worker
        self._limiter = worker.limiter
        self._gate = Gate(worker.breakers, sender.plan)
        self._sender = sender
        self._urgent = urgent
        self._plan = sender.plan
        self._levels: Sequence[Level] = ()
        self._recipients = 0
        self._requests = 0
        self._taken_at = 0.0

    @property
    def levels(self) -> Sequence[Level]:
        """Return the levels that the delivery's last tokens were asked from."""
        return self._levels or self._worker.limits.of(self._plan)

    def for_next_calls(self, members: int) -> tuple[list[int], float]:
        """Return the next group of calls to `members` with their tokens, or the wait.

        Tokens in hand for as many are used. No members, no calls and no wait.
        """
        levels = self._worker.limits.of(self._plan)
        calls = self._next_group(members, levels)
        if not calls:
            return calls, 0.0
        if self._is_fresh and _size(calls) == (self._recipients, self._requests):
            return calls, 0.0
        self.give_back()
        return calls, self._taken(calls, levels)

    def before_claiming(self, size: int) -> float:
        """Take the tokens of a chunk's first group, or return the wait for them.

        Asked for a message that came back: without tokens neither a claim nor
        rendering is any use.
        """
        return self.for_next_calls((1 << size) - 1)[1]

    def secured(self, calls: Sequence[CallIntent]) -> float:
        """Return 0.0 with fresh tokens for these calls in hand, or the wait.

        Tokens that lay for a second while Postgres was slow are not used: ten workers
        must not fire together what the limit had spread (rule 4a).
        """
        members = [call.members for call in calls]
        if self._is_fresh and _size(members) == (self._recipients, self._requests):
            return 0.0
        self.give_back()
        return self._taken(members, self._worker.limits.of(self._plan))

    @property
    def failing_for_s(self) -> float:
        """Return how long the provider has been failing, if that is why we wait."""
        return self._gate.failing_for_s

    def used(self, answers: Sequence[Answer]) -> None:
        """Note that the calls began, and what came of them."""
        self._recipients = self._requests = 0
        self._gate.report(answers)

    def give_back(self) -> None:
        """Return tokens, and the breaker's leave, for calls that did not begin."""
        self._gate.give_back()
        if self._requests:
            buckets = [level.bucket for level in self._levels]
            self._limiter.give_back(buckets, self._recipients, requests=self._requests)
            self._recipients = self._requests = 0

    @property
    def _is_fresh(self) -> bool:
        return self._requests > 0 and now_s() - self._taken_at < FRESH_S

    def _taken(self, calls: Sequence[int], levels: Sequence[Level]) -> float:
        """Return 0.0 with the breaker's leave and all tokens in hand, or the wait."""
        wait_s = self._gate.wait_s()
        if wait_s:
            return wait_s
        wait_s = self._tokens_taken(calls, levels)
        if wait_s:
            self._gate.give_back()
        return wait_s

    def _tokens_taken(self, calls: Sequence[int], levels: Sequence[Level]) -> float:
        words, provider = self._worker.words, self._sender.provider
        wait_s = words.wait_for_account(self._plan, levels, provider)
        if wait_s:
            return wait_s
        recipients, requests = _size(calls)
        buckets = [level.bucket for level in levels]
        self._levels = levels
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
        self._worker.shortages.tell(self._plan.batch_id, told)

    def _next_group(self, members: int, levels: Sequence[Level]) -> list[int]:
        """Cut the next group of calls from those who are open.

        It is one call; or several where a call takes one. What an override or the
        provider left of the burst may make it smaller than the grid's.
        """
        places = bits.positions(members)
        call = self._plan.grid.call
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
        limit_of = self._limiter.limit_of
        buckets = (one.bucket for one in levels if one.bucket.counts == counts)
        limits = (limit_of(bucket).most_at_once for bucket in buckets)
        return min(limits, default=SINGLES_IN_GROUP)


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
