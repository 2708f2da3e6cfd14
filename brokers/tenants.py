"""What a tenant is given: its weight among the others, its cap, and who says so."""

import asyncio
import logging
import time
from asyncio import Future
from collections.abc import Callable, Iterable
from dataclasses import dataclass

#: What a policy said of a tenant holds for so long; then it is asked again.
SHARE_S = 3.0
#: A policy that has not answered by then is not waited for.
POLICY_S = 2.0
#: What was said of a tenant that has no messages is forgotten after this long.
FORGET_S = 600.0

_log = logging.getLogger(__name__)


def _counts(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 1


@dataclass(frozen=True, slots=True)
class TenantShare:
    """What a tenant is given.

    Attributes:
        weight: Under load it gets so many messages for each one of a tenant with
            weight 1. A whole number from 1 up.
        cap: At most so many of its messages are in flight at once, in all workers
            together; kept by the server. From 1 up; none means no cap. Every message
            that is delivered and not settled counts, also one that a worker has
            prefetched and not begun, and one that was postponed: it holds its place
            until it was delivered again and settled. Messages that were enqueued
            with a delay do not count before they are due.

    Raises:
        ValueError: One is no such number.
    """

    weight: int = 1
    cap: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not _counts(self.weight):
            raise ValueError(
                f"A tenant's weight is a whole number from 1 up, not {self.weight!r}."
            )
        if self.cap is not None and not _counts(self.cap):
            raise ValueError(
                "A tenant's cap is a whole number from 1 up, or None for no cap, "
                f"not {self.cap!r}."
            )


#: Says what a tenant is given. It is called on a thread of the broker's, never twice
#: at once for a queue, and should answer soon, for instance from memory.
Policy = Callable[[str], TenantShare]

EQUAL = TenantShare()


class Shares:
    """What one queue's policy said lately.

    Where the policy fails or does not answer, what it said before stays; for a tenant
    of whom it has said nothing that is weight 1 and no cap (fail open).
    """

    def __init__(self, queue: str, policy: Policy | None) -> None:
        self._queue = queue
        self._policy = policy
        self._said: dict[str, tuple[TenantShare, float]] = {}
        self._lock = asyncio.Lock()
        self._asking: Future[None] | None = None

    def of(self, tenant: str) -> TenantShare:
        """Return what the tenant was given last."""
        said = self._said.get(tenant)
        return said[0] if said else EQUAL

    async def refresh(self, tenants: Iterable[str]) -> None:
        """Ask about those of whom nothing was said lately; all on one thread."""
        if self._policy is None:
            return
        async with self._lock:
            if self._asking is not None and not self._asking.done():
                return
            now = time.monotonic()
            due = [one for one in tenants if self._is_due(one, now)]
            if not due:
                return
            loop = asyncio.get_running_loop()
            self._asking = loop.run_in_executor(None, self._ask, due, self._policy)
            await asyncio.wait({self._asking}, timeout=POLICY_S)
            if not self._asking.done():
                _log.warning("The policy of queue %s does not answer.", self._queue)

    def _is_due(self, tenant: str, now: float) -> bool:
        said = self._said.get(tenant)
        return said is None or now - said[1] > SHARE_S

    def _ask(self, tenants: list[str], policy: Policy) -> None:
        now = time.monotonic()
        wrong: list[tuple[str, Exception]] = []
        for tenant in tenants:
            share = self.of(tenant)
            try:
                share = _checked(policy(tenant))
            # The policy is the user's and may raise anything.
            except Exception as error:  # noqa: BLE001 - logged below, once for all
                wrong.append((tenant, error))
            self._said[tenant] = (share, now)
        for first, cause in wrong[:1]:
            _log.error(
                "The policy of queue %s gave no share for %d tenants; what they had "
                "stays. The first is %s.",
                *(self._queue, len(wrong), first),
                exc_info=cause,
            )
        for tenant, (_, at) in list(self._said.items()):
            if now - at > FORGET_S:
                del self._said[tenant]


def _checked(share: object) -> TenantShare:
    if not isinstance(share, TenantShare):
        raise TypeError(f"A policy returns a TenantShare, not {share!r}.")
    return share
