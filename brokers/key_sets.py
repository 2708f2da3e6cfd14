"""The keys of a bucket, known in this process without asking."""

import logging

from dramatiq.errors import BrokerError

from brokers.errors import ApiError, UnavailableError
from brokers.kv import Bucket
from brokers.link import Link
from brokers.wire import Incoming

#: How often all keys are read anew: some have ended, a word may have been lost.
RELOAD_S = 300.0

_log = logging.getLogger(__name__)


class KeySet:
    """A bucket's keys, kept up to date by what the server tells.

    A key whose lifetime is over may be in it for another `RELOAD_S`.
    """

    def __init__(self, bucket: Bucket, link: Link) -> None:
        self._bucket = bucket
        self._link = link
        self._keys: set[str] = set()
        # What was told since the last reading began.
        self._told: set[str] = set()
        self._read_at = 0.0

    def __contains__(self, key: str) -> bool:
        """Tell whether the bucket has the key, as far as we were told."""
        return key in self._keys

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._keys)

    def is_on(self, link: Link) -> bool:
        """Tell whether this link keeps the set up to date."""
        return self._link is link

    def open(self) -> None:
        """Return once all keys are known.

        Raises:
            BrokerError: They cannot be read.
        """
        told = f"{self._bucket.told}.>"
        name = self._link.run(self._link.listen(self._on_told, told))
        try:
            self._link.run(self._read(), timeout_s=30.0)
        except BrokerError:
            self._link.call(self._link.spawn, self._link.unlisten(name))
            raise
        self._link.call(self._link.watch, self)

    def on_connected(self) -> None:
        """Read all keys anew: some may have been told meanwhile."""
        self._link.spawn(self._read_again())

    def on_disconnected(self) -> None:
        """Nothing to do before the server is back."""

    def on_tick(self) -> None:
        """Read all keys anew when it is time."""
        if self._link.is_online and self._link.loop.time() > self._read_at + RELOAD_S:
            self._link.spawn(self._read_again())

    async def _read_again(self) -> None:
        try:
            await self._read()
        except (ApiError, UnavailableError) as error:
            # What is known stays; the next tick tries again.
            self._read_at = 0.0
            _log.warning("The keys of %s are not read: %s", self._bucket.name, error)

    async def _read(self) -> None:
        self._read_at = self._link.loop.time()
        self._told = set()
        found = await self._bucket.keys_on(self._link)
        self._keys = found | self._told

    def _on_told(self, message: Incoming) -> None:
        key = self._bucket.key(message.subject)
        self._told.add(key)
        self._keys.add(key)
