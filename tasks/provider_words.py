"""What providers tell of their own limits, passed on to the limiter.

They tell it in the headers of answers, by asking us to wait, and where they can be
asked for their account: one process asks for all. It holds for the account: a config's
own, or the platform's for all managed configs.
"""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from threading import Lock

from hot_state.limiter import Limiter
from hot_state.shared_answers import SharedAnswers
from models.errors import NeighbourUnavailableError
from models.levels import Level, account_scope
from models.limit import Bucket, Told
from models.outcome import Answer, Hold, ReportedRate
from models.plan import Plan
from providers.provider import Provider
from tasks.demands import Demands

log = logging.getLogger("batchsender.limits")

#: How long a rate in a header holds, and how often one that stays is passed on.
_HEADER_S, _HEADER_AGAIN_S = 60.0, 20.0
#: How long an account's rate holds, and how often it is asked for.
_ACCOUNT_S, _ACCOUNT_AGAIN_S = 900.0, 240.0
#: After so long nobody waits for an account's first answer any more.
_FIRST_S = 12.0
#: The longest pause that one answer makes for all that its account sends.
_MOST_PAUSE_S = 60.0
#: How long a chunk waits before it looks again for the account's first answer.
LOOK_AGAIN_S = 0.25
#: How long a process waits for the answer that another one is asking for.
_OTHERS_S = 1.0


class ProviderWords:
    """What each account's provider told last; safe for several threads."""

    def __init__(
        self,
        limiter: Limiter,
        callers: Executor,
        demands: Demands,
        answers: SharedAnswers,
    ) -> None:
        """Begin with nothing told; questions to providers are asked by `callers`."""
        self._limiter = limiter
        self._answers = answers
        self._callers = callers
        self._demands = demands
        self._lock = Lock()
        self._passed_on: dict[str, tuple[float, float]] = {}
        self._since: dict[str, float] = {}
        self._ask_at: dict[str, float] = {}
        self._answered: set[str] = set()

    def heed(
        self, plan: Plan, levels: Sequence[Level], answers: Sequence[Answer]
    ) -> None:
        """Pass on what answers tell; a rate that stays the same only now and then."""
        for answer in answers:
            bucket = _counting_calls(levels) or _of_account(plan, levels)
            if answer.rate is not None:
                self._heed_headers(bucket, plan, answer.rate)
            if not answer.taken_up and answer.retry_after_s:
                self._pause(bucket, answer.retry_after_s)

    def wait_for_account(
        self, plan: Plan, levels: Sequence[Level], provider: Provider
    ) -> float:
        """Return 0.0 unless the account's limits are being asked for the first time.

        Asks again every few minutes, beside the sending. No answer changes nothing.
        """
        if not plan.capabilities.tells_account:
            return 0.0
        now = time.monotonic()
        with self._lock:
            since = self._since.setdefault(plan.account, now)
            is_due = now >= self._ask_at.get(plan.account, now)
            if is_due:
                self._ask_at[plan.account] = now + _ACCOUNT_AGAIN_S
        if is_due:
            self._callers.submit(self._ask_account, plan, levels, provider)
        if plan.account not in self._answered and now - since < _FIRST_S:
            return LOOK_AGAIN_S
        return 0.0

    def _ask_account(
        self, plan: Plan, levels: Sequence[Level], provider: Provider
    ) -> None:
        per_s = self._told_to_others(plan.account)
        if per_s is None:
            self._ask_at[plan.account] = time.monotonic() + _OTHERS_S
            return
        try:
            per_s = per_s or self._told_by(provider, plan)
            if per_s > 0:
                bucket = _of_account(plan, levels)
                self._limiter.heed(bucket, Told(per_s, for_s=_ACCOUNT_S))
        finally:
            self._answered.add(plan.account)

    def _told_to_others(self, account: str) -> float | None:
        """Return the rate that another process was told; 0.0: ask; none: it asks now.

        Dragonfly away: each asks itself.
        """
        try:
            found = self._answers.find(_question(account))
            if found is not None:
                return float(found)
            return 0.0 if self._answers.is_mine_to_ask(_question(account)) else None
        except NeighbourUnavailableError:
            return 0.0

    def _told_by(self, provider: Provider, plan: Plan) -> float:
        """Return the rate that the provider tells, and keep it for the others.

        It is 0.0 where there is none; a block holds the config, so nobody else needs
        to know of it.
        """
        account = provider.account()
        if account is None:
            log.warning("The account of config %s told nothing.", plan.config_id)
            return 0.0
        if account.blocked:
            self._demands.hold(plan, Hold("config", account.blocked))
        if account.per_s > 0:
            self._keep(plan.account, account.per_s)
        return account.per_s

    def _keep(self, account: str, per_s: float) -> None:
        try:
            question = _question(account)
            self._answers.keep(question, repr(per_s), for_s=_ACCOUNT_AGAIN_S)
        except NeighbourUnavailableError as error:
            log.info("The other processes ask themselves: %s", error)

    def _heed_headers(self, bucket: Bucket, plan: Plan, rate: ReportedRate) -> None:
        window_s = plan.capabilities.rate_window_s
        if window_s and rate.limit > 0:
            self._pass_on(bucket, rate.limit / window_s)
        if rate.remaining < 1:
            self._pause(bucket, rate.reset_s)

    def _pass_on(self, bucket: Bucket, per_s: float) -> None:
        now = time.monotonic()
        with self._lock:
            known, at = self._passed_on.get(bucket.scope, (0.0, 0.0))
            if known == per_s and now - at < _HEADER_AGAIN_S:
                return
            self._passed_on[bucket.scope] = (per_s, now)
        self._limiter.heed(bucket, Told(per_s, for_s=_HEADER_S))

    def _pause(self, bucket: Bucket, pause_s: float) -> None:
        if pause_s > 0:
            told = Told(pause_s=min(pause_s, _MOST_PAUSE_S))
            self._limiter.heed(bucket, told)


def _question(account: str) -> str:
    return f"account:{account}"


def _counting_calls(levels: Sequence[Level]) -> Bucket | None:
    found = (one.bucket for one in levels if one.name == "requests")
    return next(found, None)


def _of_account(plan: Plan, levels: Sequence[Level]) -> Bucket:
    scope = account_scope(plan.sending)
    return next(one.bucket for one in levels if one.bucket.scope == scope)
