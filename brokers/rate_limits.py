"""What Dramatiq's rate limiters and barriers count in, kept in NATS.

Every change is a compare-and-set on what was read, so none is lost and no maximum is
passed, however many processes count at once.
"""

import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dramatiq.rate_limits import RateLimiterBackend

from brokers.backend_buckets import bucket_at
from brokers.servers import at_servers

if TYPE_CHECKING:
    from brokers.jetstream import JetStreamBroker


class JetStreamBackend(RateLimiterBackend):
    """Keeps counts in a key-value bucket.

    Every method raises `BrokerConnectionError` while no server answers, so a limiter
    fails closed. Should an answer get lost, a step may be counted twice. Lifetimes
    are rounded up to whole seconds.

    Args:
        broker: Whose connection to use.
        servers: Instead of a broker: one URL, or several of one cluster.
        bucket: Its name, of letters, digits, `_` and `-`.
        replicas: With `servers`: on how many the bucket is kept.
        tls: With `servers`: for `tls://` URLs.
        credentials: With `servers`: the path of a `.creds` file.
    """

    def __init__(
        self,
        broker: "JetStreamBroker | None" = None,
        *,
        servers: str | Sequence[str] | None = None,
        bucket: str = "dramatiq-rate-limits",
        replicas: int = 1,
        tls: ssl.SSLContext | None = None,
        credentials: str | None = None,
    ) -> None:
        options = at_servers(servers, bucket, tls, credentials)
        # A window's counts are called `name@second`: one family.
        self._bucket = bucket_at(
            broker, options, bucket, replicas=replicas, separator="@"
        )

    def close(self) -> None:
        """Disconnect, where the connection is our own; a later use connects again."""
        self._bucket.close()

    def add(self, key: str, value: int, ttl: int) -> bool:
        """Set a count that is not there; tell whether it was not."""
        return self._bucket.create(key, b"%d" % value, ttl_ms=ttl) is not None

    def incr(self, key: str, amount: int, maximum: int, ttl: int) -> bool:
        """Raise a count, unless it would pass the maximum; tell which."""
        return self._changed(key, amount, lambda count: count <= maximum, ttl)

    def decr(self, key: str, amount: int, minimum: int, ttl: int) -> bool:
        """Lower a count, unless it would pass the minimum; tell which."""
        return self._changed(key, -amount, lambda count: count >= minimum, ttl)

    def incr_and_sum(
        self,
        key: str,
        keys: Callable[[], list[str]],
        amount: int,
        maximum: int,
        ttl: int,
    ) -> bool:
        """Raise a count, unless it or the sum of some would pass the maximum.

        Nothing that is summed can change meanwhile: where all keys are alike up to
        their last `@`, as a window's are, only a change of one of these counts again.
        Where they are not, any change in the bucket does.
        """
        while True:
            families = {self._bucket.family(one) for one in (key, *keys())}
            among = families.pop()
            if families:
                among = self._bucket.everything
            summed = keys()
            revision, found = self._bucket.get_among(among, {key, *summed})
            counts = {one: int(entry.value) for one, entry in found.items()}
            count = counts.get(key, 0) + amount
            total = amount + sum(counts.get(one, 0) for one in summed)
            if count > maximum or total > maximum:
                return False
            if self._bucket.update(
                key, b"%d" % count, revision, ttl_ms=ttl, among=among
            ):
                return True

    def wait(self, key: str, timeout: int | None) -> bool:
        """Return whether the key was notified, now, earlier or in time.

        Args:
            key: What to wait for.
            timeout: In milliseconds; none waits for ever.
        """
        timeout_s = None if timeout is None else timeout / 1000
        return self._bucket.wait(key, timeout_s) is not None

    def wait_notify(self, key: str, ttl: int) -> None:
        """Wake all who wait for the key, or will within `ttl` milliseconds."""
        self._bucket.put(key, b"x", ttl_ms=ttl)

    def _changed(
        self, key: str, amount: int, allowed: Callable[[int], bool], ttl: int
    ) -> bool:
        while True:
            entry = self._bucket.get(key)
            value, revision = (int(entry.value), entry.revision) if entry else (0, 0)
            if not allowed(value + amount):
                return False
            if self._bucket.update(key, b"%d" % (value + amount), revision, ttl_ms=ttl):
                return True
