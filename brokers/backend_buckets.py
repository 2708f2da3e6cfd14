"""Where a backend keeps its bucket: at a broker's servers, or at others."""

from typing import TYPE_CHECKING

from brokers.connection import Connection
from brokers.kv import Bucket
from brokers.servers import ServerOptions

if TYPE_CHECKING:
    from brokers.jetstream import JetStreamBroker


def bucket_at(
    broker: "JetStreamBroker | None",
    options: ServerOptions | None,
    name: str,
    *,
    replicas: int = 1,
    separator: str = "",
) -> Bucket:
    """Return a bucket over the broker's connection, or over one of its own.

    Raises:
        ValueError: Neither is given, or both.
    """
    if broker is not None and options is None:
        return broker.bucket(name, separator=separator)
    if broker is None and options is not None:
        return Bucket(
            Connection(options),
            name,
            replicas=replicas,
            separator=separator,
            owns_connection=True,
        )
    raise ValueError("Give either a broker or servers.")
