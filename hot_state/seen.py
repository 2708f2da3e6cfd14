"""Which reports were taken already, so that Postgres is spared their repetitions.

It saves work and decides nothing: statuses only move forward and counters move with
them, so a report that is taken twice changes nothing the second time.
"""

import logging
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import redis

from hot_state import keys
from hot_state.client import answering, ask
from models.errors import NeighbourUnavailableError

_log = logging.getLogger("batchsender.seen")


class Seen:
    """Reports that were taken within the last 48 hours.

    Fails open: while Dragonfly is away, or when it has forgotten, nothing was seen.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def among(self, names: Sequence[str]) -> list[bool]:
        """Tell of each name whether it was marked; `""` never is. One round trip."""
        if not any(names):
            return [False] * len(names)
        try:
            found = ask(self._client, "MGET", *map(_key, names))
        except NeighbourUnavailableError as error:
            _log.warning("Repeated reports are not recognised: %s", error)
            return [False] * len(names)
        return [
            bool(name) and mark is not None
            for name, mark in zip(names, found, strict=True)
        ]

    def mark(self, names: Sequence[str]) -> None:
        """Remember names from now on; call it once their effects are committed."""
        pipeline: Any = self._client.pipeline(transaction=False)
        for name in filter(None, names):
            pipeline.set(_key(name), b"", ex=keys.REPORT_TTL_S)
        try:
            with answering():
                pipeline.execute()
        except NeighbourUnavailableError as error:
            _log.warning("Taken reports are not remembered: %s", error)


def _key(name: str) -> str:
    return keys.report(blake2b(name.encode(), digest_size=16).hexdigest())
