"""Results of actors, kept in NATS for as long as their actor says."""

import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dramatiq.encoder import Encoder
from dramatiq.results import Missing, ResultBackend, ResultMissing, ResultTimeout
from dramatiq.results.backend import DEFAULT_TIMEOUT

from brokers.backend_buckets import bucket_at
from brokers.entries import Entry
from brokers.servers import at_servers

if TYPE_CHECKING:
    from dramatiq.message import Message

    from brokers.jetstream import JetStreamBroker


class JetStreamBackend(ResultBackend):
    """Keeps results in a key-value bucket; who waits for one is told.

    Built over a broker's connection, or with servers of its own. Storing and getting
    raise `BrokerConnectionError` while no server answers.

    Args:
        broker: Whose connection to use.
        servers: Instead of a broker: one URL, or several of one cluster.
        bucket: Its name, of letters, digits, `_` and `-`.
        replicas: With `servers`: on how many the bucket is kept.
        tls: With `servers`: for `tls://` URLs.
        credentials: With `servers`: the path of a `.creds` file.
        namespace: What Dramatiq puts in front of every key.
        encoder: For results; by default the messages' own.
        use_namespace_prefix_keys: Whether keys can be read by people.
    """

    def __init__(
        self,
        broker: "JetStreamBroker | None" = None,
        *,
        servers: str | Sequence[str] | None = None,
        bucket: str = "dramatiq-results",
        replicas: int = 1,
        tls: ssl.SSLContext | None = None,
        credentials: str | None = None,
        namespace: str = "dramatiq-results",
        encoder: Encoder | None = None,
        use_namespace_prefix_keys: bool = False,
    ) -> None:
        super().__init__(
            namespace=namespace,
            encoder=encoder,
            use_namespace_prefix_keys=use_namespace_prefix_keys,
        )
        options = at_servers(servers, bucket, tls, credentials)
        self._bucket = bucket_at(broker, options, bucket, replicas=replicas)

    def get_result(
        self,
        message: "Message[Any]",
        *,
        block: bool = False,
        timeout: int | None = None,
    ) -> Any:
        """Return what the message's actor returned.

        Args:
            message: Any copy of it.
            block: Wait for the result.
            timeout: In milliseconds, how long to wait; by default 10 seconds.

        Raises:
            ResultMissing: There is none, and we do not wait.
            ResultTimeout: There was none in time.
            ResultFailure: The actor failed; tells its error.
            BrokerConnectionError: No server answers.
        """
        key = self.build_message_key(message)
        if not block:
            entry = self._bucket.get(key)
        else:
            wait_ms = DEFAULT_TIMEOUT if timeout is None else timeout
            entry = self._bucket.wait(key, wait_ms / 1000)
        if entry is None:
            raise ResultTimeout(message) if block else ResultMissing(message)
        unwrapped: Callable[[Any], Any] = self.unwrap_result
        return unwrapped(self._decoded(entry))

    def close(self) -> None:
        """Disconnect, where the connection is our own; a later use connects again."""
        self._bucket.close()

    def _get(self, message_key: str) -> Any:
        entry = self._bucket.get(message_key)
        return Missing if entry is None else self._decoded(entry)

    def _store(self, message_key: str, result: Any, ttl: int) -> None:
        self._bucket.put(message_key, self.encoder.encode(result), ttl_ms=ttl)

    def _decoded(self, entry: Entry) -> Any:
        return self.encoder.decode(entry.value)
