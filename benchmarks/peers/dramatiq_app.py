"""The Dramatiq application on Redis: orjson, otherwise its defaults."""

import os
from typing import Any

import dramatiq
import orjson
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers.work import deliver


class _Encoder(dramatiq.Encoder):
    def encode(self, data: dict[str, Any]) -> bytes:
        return orjson.dumps(data)

    def decode(self, data: bytes) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(data)
        return found


dramatiq.set_encoder(_Encoder())
dramatiq.set_broker(RedisBroker(url=os.environ["DRAGONFLY_URL"]))


@dramatiq.actor
def send(
    batch_id: str, first: int, addresses: list[str], variables: list[dict[str, Any]]
) -> None:
    """Send to up to a task's size of recipients."""
    deliver(batch_id, first, addresses, variables)


def enqueue(*arguments: Any) -> None:
    """Put one message into the queue."""
    send.send(*arguments)
