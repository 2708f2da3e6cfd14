"""Spare Postgres the usual redelivery: a chunk in which everybody is final.

It saves work and never gives permission (design, section 5): where Dragonfly is
away, empty or stale, the message goes on to the ledger, which decides.
"""

from collections.abc import Callable
from typing import Any

import dramatiq
from dramatiq.middleware import Middleware, SkipMessage

from hot_state.outcomes import Outcomes
from models.errors import NeighbourUnavailableError


def _always_check() -> int:
    return 2


class Idempotency(Middleware):
    """Skips messages of actors declared with `skip_if_final=True`.

    A skipped message is acked. Only messages whose keyword arguments name a range
    (`batch_id`, `first`, `size`) can be skipped; all others pass.
    """

    def __init__(
        self,
        outcomes: Callable[[], Outcomes],
        *,
        deliveries: Callable[[], int] = _always_check,
    ) -> None:
        """Take what to ask.

        Args:
            outcomes: Gives what tells who is final, when the first message is asked
                about: importing the actors connects to nothing.
            deliveries: How often the message at hand was delivered, from 1; a first
                delivery is not asked about. Without it every message is.
        """
        self._outcomes = outcomes
        self._deliveries = deliveries

    @property
    def actor_options(self) -> set[str]:
        """Return the option this middleware gives to actors."""
        return {"skip_if_final"}

    def before_process_message(
        self, broker: dramatiq.Broker, message: dramatiq.MessageProxy
    ) -> None:
        """Skip the message when its whole range is final.

        Raises:
            SkipMessage: Nothing is left to do; the message is acked.
        """
        actor = broker.actors.get(message.actor_name)
        if actor is None or not actor.options.get("skip_if_final"):
            return
        if self._deliveries() > 1 and self._is_final(message.kwargs):
            raise SkipMessage("Everybody in the chunk is final.")

    def _is_final(self, named: dict[str, Any]) -> bool:
        match named:
            case {"batch_id": str(batch_id), "first": int(first), "size": int(size)}:
                pass
            case _:
                return False
        # An error in this hook would be logged and the job run: that is what we
        # want where Dragonfly is away, but without the noise.
        try:
            return self._outcomes().all_final(batch_id, first, size)
        except NeighbourUnavailableError:
            return False
