"""The breaker's leave for one delivery's groups of calls, and what is told of them."""

import logging
import random
from collections.abc import Sequence

from hot_state.breaker import Breakers, scope_of
from models.breaker import Calls, Passage
from models.outcome import Answer
from models.plan import Plan
from telemetry import BREAKER_CHANGES, BREAKER_PROBES, BREAKER_WAITS, PROVIDER_FAULTS

log = logging.getLogger("batchsender.send")


class Gate:
    """Asks for one group at a time; what was let through is reported or given back."""

    def __init__(self, breakers: Breakers, plan: Plan) -> None:
        self._breakers = breakers
        self._scope = scope_of(plan.config_id)
        self._provider = plan.provider
        self._passage: Passage | None = None
        #: How long the provider had been failing when a group was last held back.
        self.failing_for_s = 0.0

    def wait_s(self) -> float:
        """Return 0.0 when a group may begin, or the seconds to wait."""
        passage = self._breakers.passage(self._scope)
        self.failing_for_s = passage.open_for_s if passage.wait_s else 0.0
        if passage.wait_s:
            BREAKER_WAITS.labels(self._provider).inc()
            # Those who wait for one breaker shall not come back together.
            return passage.wait_s * random.uniform(1.0, 1.25)  # noqa: S311 - it hides nothing
        if passage.is_probe:
            BREAKER_PROBES.labels(self._provider).inc()
        self._passage = passage
        return 0.0

    def report(self, answers: Sequence[Answer]) -> None:
        """Tell what came of the group; nothing where none had been let through."""
        made = [answer for answer in answers if answer.is_called]
        faults = sum(answer.is_fault for answer in made)
        if faults:
            PROVIDER_FAULTS.labels(self._provider).inc(faults)
        self._told(Calls(len(made), faults))

    def give_back(self) -> None:
        """Tell that the group did not begin; nothing where none was let through."""
        self._told(Calls(0, 0))

    def _told(self, done: Calls) -> None:
        passage, self._passage = self._passage, None
        if passage is None:
            return
        change = self._breakers.report(self._scope, passage, done)
        if change:
            BREAKER_CHANGES.labels(self._provider, change).inc()
            log.warning("The breaker of %s has %s.", self._scope, change)
