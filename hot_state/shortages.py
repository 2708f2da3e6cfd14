"""What batches wait for, told by those who were refused tokens.

It is kept for a short time only, so that it vanishes when nobody is refused any more.
Fails open: while Dragonfly is away nothing is told.
"""

import time
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import orjson
import redis

from hot_state import keys
from hot_state.client import ask
from models.errors import NeighbourUnavailableError

#: A process tells of a batch once in this time, however many chunks are refused.
_AGAIN_S = 1.0
#: Batches of which a process remembers when it told.
_REMEMBERED = 1000


class Shortages:
    """Told by workers, read by whoever shows a batch; safe for several threads."""

    def __init__(self, client: redis.Redis) -> None:
        """Begin without a connection; the client is `hot_state.client.connect`'s."""
        self._client = client
        self._lock = Lock()
        self._told_at: dict[str, float] = {}

    def tell(self, batch_id: str, what: Mapping[str, Any]) -> None:
        """Tell what a batch waits for, at most once a second; the last word holds."""
        if not self._is_due(batch_id):
            return
        key = keys.shortage(batch_id)
        try:
            ask(self._client, "SET", key, orjson.dumps(what), "EX", keys.SHORTAGE_TTL_S)
        except NeighbourUnavailableError:
            # The next refusal tells it; until then a page shows one line less.
            return

    def of(self, batch_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return by batch what it waits for; those that wait for nothing are left out.

        Raises:
            NeighbourUnavailableError: Dragonfly does not answer.
        """
        if not batch_ids:
            return {}
        found = ask(self._client, "MGET", *map(keys.shortage, batch_ids))
        pairs = zip(batch_ids, found, strict=True)
        return {batch_id: orjson.loads(text) for batch_id, text in pairs if text}

    def _is_due(self, batch_id: str) -> bool:
        now = time.monotonic()
        with self._lock:
            if now - self._told_at.get(batch_id, -_AGAIN_S) < _AGAIN_S:
                return False
            if len(self._told_at) >= _REMEMBERED:
                self._told_at.clear()
            self._told_at[batch_id] = now
        return True
