"""Whether Dragonfly is one that we can work with."""

from typing import Any

import redis

from hot_state.client import answering


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
