"""Leases that save work: one leader does what several could do as safely."""

from uuid import uuid4

import redis

from hot_state import keys
from hot_state.client import Script

_ACQUIRE = Script("acquire_lease")
_RELEASE = Script("release_lease")


class Lease:
    """A name that one owner holds at a time, until it lapses.

    Nothing may rest on it for safety: a server that was wiped gives the same lease
    to a second owner at once (design, rule 1).
    """

    def __init__(self, client: redis.Redis, name: str, *, ttl_s: float) -> None:
        self._client = client
        self._key = keys.lease(name)
        self._ttl_ms = max(1, round(ttl_s * 1000))
        # Dragonfly rewrites text that reads as a number; hyphens prevent that.
        self._owner = str(uuid4())

    def acquire(self) -> bool:
        """Take the lease or renew it for another `ttl_s`; tell whether it is mine.

        Raises:
            NeighbourUnavailableError: Nobody can tell; the caller decides.
        """
        arguments = [self._owner, self._ttl_ms]
        return bool(_ACQUIRE.run(self._client, [self._key], arguments))

    def release(self) -> None:
        """Let the lease go if it is mine, so that another need not wait.

        Raises:
            NeighbourUnavailableError: It lapses by itself.
        """
        _RELEASE.run(self._client, [self._key], [self._owner])
