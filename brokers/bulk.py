"""Many fresh messages on their way at once, each stream's by an ingest of its own."""

import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from brokers.ingest import Addressed, Ingest
from brokers.publishing import Publisher, fresh

#: Fewer messages than this are not worth an ingest.
FEWEST = 200
#: An ingest ends after so many messages, or bytes: so much is kept in memory.
LONGEST = 20_000
LARGEST_BYTES = 16 * 1024 * 1024


class Bulk:
    """Messages that nobody ever stored before; what was added is stored at the end.

    Use it as a context manager. Where its block raises, what was added may be stored.

    Args:
        publisher: Stores what an ingest could not.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._ingests: dict[str, Ingest] = {}
        self._few: defaultdict[str, list[Addressed]] = defaultdict(list)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait until all is stored, unless the block raised.

        Raises:
            RefusedError: The server will never take some of them.
            NotStoredError: Some were not confirmed in time.
        """
        if kind is None:
            self._finish()
        for ingest in self._ingests.values():
            ingest.give_up()

    def add(self, targets: Iterable[tuple[str, str]], bodies: Sequence[bytes]) -> None:
        """Send messages, or keep them until there are enough; their order is kept.

        Args:
            targets: The stream and the subject of each.
            bodies: Of each.

        Raises:
            MessageTooLarge: One exceeds the server's limit; none of these was sent.
            RefusedError: The server will never take some of those before.
            BrokerConnectionError: There is no server, or it makes no stream, or does
                not confirm what was sent before.
        """
        found: defaultdict[str, list[Addressed]] = defaultdict(list)
        for (stream, subject), body in zip(targets, bodies, strict=True):
            found[stream].append((subject, body))
        if bodies:
            self._publisher.check_size(max(map(len, bodies)))
        for stream, some in found.items():
            self._add(stream, some)

    def _add(self, stream: str, some: list[Addressed]) -> None:
        ingest = self._ingests.get(stream)
        if ingest is None:
            few = self._few[stream]
            few += some
            if len(few) < FEWEST:
                return
            link, some = self._publisher.prepare([stream]), few
            ingest = self._ingests[stream] = Ingest(link, stream)
            del self._few[stream]
        ingest.add(some)
        if len(ingest.kept) >= LONGEST or ingest.size_bytes >= LARGEST_BYTES:
            self._commit(stream)

    def _finish(self) -> None:
        for stream in list(self._ingests):
            self._commit(stream)
        for stream, some in self._few.items():
            self._publisher.store(fresh(stream, some, secrets.token_urlsafe(12)))

    def _commit(self, stream: str) -> None:
        ingest = self._ingests.pop(stream)
        if not ingest.commit():
            self._publisher.store(ingest.outgoing())
