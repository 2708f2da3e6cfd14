"""A broker that can look into its queues, and change what lies in them."""

from brokers.connection import Connection
from brokers.contents import Contents
from brokers.erasing import erase
from brokers.figures import Figures, QueueFigures, StoreFigures, TenantClass
from brokers.hook_tables import HookedBroker
from brokers.kv import Bucket
from brokers.letters import DeadLetters
from brokers.link import Link
from brokers.publishing import Publisher
from brokers.topology import Topology

#: Enough to read some million messages.
_ERASE_S = 3600.0


class QueuesBroker(HookedBroker):
    """Counts, drops and awaits messages; holds the connection that all of it needs."""

    def _look_into(
        self, connection: Connection, topology: Topology, timeout_s: float
    ) -> None:
        """Begin; middleware, which is set up afterwards, may need what is made here."""
        self._connection = connection
        self._topology = topology
        self._publish_timeout_s = timeout_s
        self._publisher = Publisher(connection, topology, timeout_s)
        self._contents = Contents(self._connected_link, topology)

    def close(self) -> None:
        """Write what waits to be written, then disconnect.

        A second time does nothing; using the broker afterwards connects again.
        """
        self._connection.close()

    def stored(self, queue_name: str) -> dict[str, int]:
        """Return how many messages are stored by tenant, in flight or not.

        Without tenants all are under `""`. Waiting for their time they do not count.

        Raises:
            BrokerConnectionError: The server did not answer.
        """
        return self._contents.stored(queue_name)

    def get_queue_message_counts(self, queue_name: str) -> tuple[int, int, int]:
        """Return how many messages are ready or in flight, delayed, and dead.

        Raises:
            BrokerConnectionError: The server did not answer.
        """
        return self._contents.counts(queue_name)

    def figures(
        self, queue_name: str, *, tenant_class: TenantClass | None = None
    ) -> QueueFigures:
        """Return how much the queue holds, and how it moves.

        Args:
            queue_name: The queue; it need not exist.
            tenant_class: Names the class of a tenant with so many messages; without
                it tenants are not classed, which asks the server less.

        Raises:
            BrokerConnectionError: The server did not answer.
        """
        figures = Figures(self._connected_link, self._topology)
        return figures.of(queue_name, tenant_class)

    def store_figures(self) -> StoreFigures:
        """Return what JetStream holds on disk for our account.

        Raises:
            BrokerConnectionError: The server did not answer.
        """
        return Figures(self._connected_link, self._topology).store()

    def flush(self, queue_name: str) -> None:
        """Drop the queue's messages: ready, in flight, delayed and dead.

        Raises:
            BrokerConnectionError: The server did not answer.
        """
        self._contents.flush(queue_name)

    def flush_all(self) -> None:
        """Drop the messages of all declared queues.

        Raises:
            BrokerConnectionError: The server did not answer.
        """
        for queue_name in self.get_declared_queues():
            self.flush(queue_name)

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Return when the queue has no message left, delayed ones included.

        Args:
            queue_name: The queue.
            timeout: In milliseconds; none waits for ever.

        Raises:
            QueueJoinTimeout: There are still messages.
            BrokerConnectionError: The server did not answer.
        """
        self._contents.join(queue_name, None if timeout is None else timeout / 1000)

    def bucket(self, name: str, *, separator: str = "") -> Bucket:
        """Return a key-value bucket over the broker's connection.

        Raises:
            ValueError: A bucket cannot have this name.
        """
        return Bucket(
            self._connection,
            name,
            replicas=self._topology.settings.replicas,
            separator=separator,
            timeout_s=self._publish_timeout_s,
        )

    def dead_letters(self, queue_name: str | None = None) -> DeadLetters:
        """Return the dead letters of a queue, or of all; asks nobody yet."""
        return DeadLetters(
            self._connected_link, self._publisher, self._topology, queue_name
        )

    def erase(self, *texts: str) -> int:
        """Remove every stored message that holds one of the texts; return how many.

        Reads all that is stored. Raises `BrokerConnectionError` when the server does
        not answer; the same call may be repeated.
        """
        link = self._connected_link()
        return link.run(erase(link, texts), timeout_s=_ERASE_S)

    def _connected_link(self) -> Link:
        link = self._connection.link()
        link.wait_until_connected(self._publish_timeout_s)
        return link
