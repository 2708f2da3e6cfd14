"""Hold jobs back while their token buckets are empty, without counting a retry.

For jobs as a whole. Calls to providers have limits of their own (`tasks.tokens`): one
job makes several groups of them, and must take what each needs just before it begins.
"""

from collections.abc import Callable, Sequence

import dramatiq
from dramatiq.middleware import Middleware, SkipMessage

from brokers.delivery import delivery_of
from hot_state.limiter import Limiter
from models.limit import Bucket

#: The buckets of a job's actor, or what tells those of one message.
Buckets = Sequence[Bucket] | Callable[[dramatiq.MessageProxy], Sequence[Bucket]]


class RateLimit(Middleware):
    """Takes a token for each job of actors declared with `rate_limit=buckets`.

    One token from each bucket or none. While Dragonfly is away each process goes on
    with its share of half the rate, as the limiter does: never with none at all.
    """

    def __init__(self, limiter: Callable[[], Limiter]) -> None:
        """Take what gives the limiter, when the first job asks for it."""
        self._limiter = limiter

    @property
    def actor_options(self) -> set[str]:
        """Return the option this middleware gives to actors."""
        return {"rate_limit"}

    def before_process_message(
        self, broker: dramatiq.Broker, message: dramatiq.MessageProxy
    ) -> None:
        """Let the job begin, or have its message come again when tokens are there.

        Raises:
            SkipMessage: It waits. Our broker delivers the message again after the wait;
                on another one a copy is enqueued with that delay.
        """
        actor = broker.actors.get(message.actor_name)
        buckets = actor.options.get("rate_limit") if actor else None
        if not buckets:
            return
        found = buckets(message) if callable(buckets) else buckets
        wait_s = self._limiter().take(found, 1)
        if not wait_s:
            return
        delivery = delivery_of(message)
        if delivery is not None:
            delivery.postpone(wait_s)
        else:
            # Rounded up: a copy that is too early would be delayed a second time.
            broker.enqueue(message.copy(), delay=int(wait_s * 1000) + 1)
        raise SkipMessage(f"Its rate limit has it wait {wait_s:.3f} s.")
