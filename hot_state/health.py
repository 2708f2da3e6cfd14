"""Whether Dragonfly is one that we can work with."""

from dataclasses import dataclass
from typing import Any

import redis

from hot_state.client import answering


@dataclass(frozen=True, slots=True)
class Memory:
    """How full Dragonfly is.

    Attributes:
        used_bytes: What its keys take.
        most_bytes: What they may take; 0 without a limit.
        evicted_keys: How many it threw away since it began.
    """

    used_bytes: int
    most_bytes: int
    evicted_keys: int


def memory_of(client: redis.Redis) -> Memory:
    """Return how full the server is.

    Raises:
        NeighbourUnavailableError: Dragonfly does not answer.
    """
    with answering():
        memory: Any = client.info("memory")
        stats: Any = client.info("stats")
    return Memory(
        used_bytes=int(memory.get("used_memory", 0)),
        most_bytes=int(memory.get("maxmemory", 0)),
        evicted_keys=int(stats.get("evicted_keys", 0)),
    )


def evicts(client: redis.Redis) -> bool:
    """Tell whether the server throws keys away when its memory is full.

    Raises:
        NeighbourUnavailableError: Dragonfly does not answer.
    """
    with answering():
        memory: Any = client.info("memory")
    # Dragonfly itself knows no policies but only whether it is a cache.
    policy = memory.get("maxmemory_policy", "noeviction")
    return bool(policy != "noeviction" or memory.get("cache_mode") == "cache")
