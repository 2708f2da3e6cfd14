"""Looking at dead letters, sending them back, and dropping them.

Letters are read in pages, however many there are. Whoever goes through all of them
sees those that were there when it began; what dies meanwhile is left for next time.
In a cluster a page may come from a server that is a moment behind.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from brokers.dead_letters import DeadLetter
from brokers.errors import ApiError, LetterNotFound, RefusedError, UnavailableError
from brokers.link import API_TIMEOUT_S, Link
from brokers.publishing import Outgoing, Publisher
from brokers.routes import escaped
from brokers.stored import stored_by_subject
from brokers.topology import DEAD_STREAM, Topology
from brokers.wire import Incoming

#: At most so many letters, and about so many bytes, are read at a time.
PAGE = 100
PAGE_BYTES = 4_000_000
#: JetStream's numbers for *no such message* and *the message was not deleted*.
MESSAGE_NOT_FOUND = 10037
NOT_DELETED = 10057

Which = Iterable[int | DeadLetter] | None


class DeadLetters:
    """The dead letters of one queue, or of all queues.

    Iterating yields them, the oldest first. Every method raises
    `BrokerConnectionError` when the server does not answer.

    Args:
        connected: Returns the link once the server is there.
        publisher: Stores what is replayed.
        topology: Knows the stream.
        queue: The queue; none for all.
    """

    def __init__(
        self,
        connected: Callable[[], Link],
        publisher: Publisher,
        topology: Topology,
        queue: str | None,
    ) -> None:
        self._connected = connected
        self._publisher = publisher
        self._topology = topology
        self._queue = queue
        self._subject = "dead.*" if queue is None else f"dead.{escaped(queue)}"

    def __iter__(self) -> Iterator[DeadLetter]:
        """Yield the letters that are there now, the oldest first."""
        for page in self._pages():
            yield from page

    def count(self) -> int:
        """Return how many there are."""
        link = self._ready_link()
        found, _ = link.run(stored_by_subject(link, DEAD_STREAM, self._subject))
        return sum(found.values())

    def page(self, *, after: int = 0, limit: int = PAGE) -> list[DeadLetter]:
        """Return the next letters behind a sequence; fewer where they are large."""
        link = self._ready_link()
        wanted = {
            "seq": after + 1,
            "next_by_subj": self._subject,
            "batch": limit,
            "max_bytes": PAGE_BYTES,
        }
        return [_letter(one) for one in link.run(_messages(link, wanted))]

    def show(self, sequence: int) -> DeadLetter:
        """Return one letter.

        Raises:
            LetterNotFound: This queue has none of this number.
        """
        found = self.page(after=sequence - 1, limit=1)
        if not found or found[0].sequence != sequence:
            raise LetterNotFound(f"There is no dead letter {sequence}.")
        return found[0]

    def replay(self, letters: Which = None) -> int:
        """Send letters back to where they came from; return how many.

        Their bytes are stored durably first, then the letters are removed, page by
        page. After a crash between the two the same call delivers a message a second
        time at most; within the duplicate window not even that. A message that had
        used up its retries is tried once; when it dies again it is a new letter.

        Args:
            letters: Which, by sequence or as they were read; none for all that are
                there now.

        Raises:
            LetterNotFound: One of them is not there; others before it were replayed.
            RefusedError: A letter does not tell where it came from.
            BrokerConnectionError: Some are not confirmed; they stay letters.
        """
        replayed = 0
        for page in self._chosen(letters):
            self._publisher.store([_outgoing(one) for one in page], reserve_bytes=0)
            self._remove(page)
            replayed += len(page)
        return replayed

    def drop(self, letters: Which = None) -> int:
        """Remove letters for good; return how many.

        Args:
            letters: Which, by sequence or as they were read; none for all that are
                there now.

        Raises:
            LetterNotFound: One of them is not there; others before it were dropped.
        """
        if letters is None:
            link = self._ready_link()
            purge = {"filter": self._subject, "seq": _last(link) + 1}
            answer = link.run(link.api(f"STREAM.PURGE.{DEAD_STREAM}", purge))
            return int(answer["purged"])
        dropped = 0
        for page in self._chosen(letters):
            self._remove(page)
            dropped += len(page)
        return dropped

    def _chosen(self, letters: Which) -> Iterator[list[DeadLetter]]:
        if letters is None:
            yield from self._pages()
            return
        known = (self.show(one) if isinstance(one, int) else one for one in letters)
        while page := list(islice(known, PAGE)):
            yield page

    def _pages(self) -> Iterator[list[DeadLetter]]:
        last, after = _last(self._ready_link()), 0
        while after < last:
            page = [one for one in self.page(after=after) if one.sequence <= last]
            if not page:
                return
            yield page
            after = page[-1].sequence

    def _remove(self, page: list[DeadLetter]) -> None:
        link = self._connected()
        link.run(_removed(link, [one.sequence for one in page]), timeout_s=30.0)

    def _ready_link(self) -> Link:
        link = self._connected()
        if not self._topology.is_ready(DEAD_STREAM):
            link.run(self._topology.ensure_stream(link, DEAD_STREAM))
        return link


def _outgoing(letter: DeadLetter) -> Outgoing:
    if not letter.subject:
        raise RefusedError(
            f"Dead letter {letter.sequence} does not tell where it came from."
        )
    # Of this letter and no other: the message's next death makes another letter.
    unique = f"replay.{letter.sequence}.{letter.died_at.timestamp():.6f}"
    headers = {"Nats-Msg-Id": unique}
    return Outgoing(letter.stream, letter.subject, letter.body, headers)


def _letter(message: Incoming) -> DeadLetter:
    return DeadLetter.read(message.data, message.headers)


def _last(link: Link) -> int:
    answer = link.run(link.api(f"STREAM.INFO.{DEAD_STREAM}"))
    return int(answer["state"]["last_seq"])


async def _messages(link: Link, wanted: dict[str, Any]) -> list[Incoming]:
    """Return a page as the server sends it: message by message, then a status."""
    found: list[Incoming] = []
    status: asyncio.Future[str] = link.loop.create_future()

    def take(_: str, message: Incoming) -> None:
        if not message.status:
            found.append(message)
        elif not status.done():
            status.set_result(message.status)

    reply = link.on_replies(take)
    link.send(f"$JS.API.DIRECT.GET.{DEAD_STREAM}", json.dumps(wanted).encode(), reply)
    try:
        async with asyncio.timeout(API_TIMEOUT_S):
            ended = await status
    except TimeoutError as error:
        raise UnavailableError("The dead letters are not being read.") from error
    finally:
        link.forget(reply)
    # 204 ends a page, 404 tells that there is none.
    if ended not in ("204", "404"):
        raise UnavailableError(f"JetStream answered {ended} for the dead letters.")
    return found


async def _removed(link: Link, sequences: Iterable[int]) -> None:
    await asyncio.gather(*(_remove_one(link, sequence) for sequence in sequences))


async def _remove_one(link: Link, sequence: int) -> None:
    """Remove a letter; one that is gone already is no error."""
    request = {"seq": sequence, "no_erase": True}
    try:
        await link.api(f"STREAM.MSG.DELETE.{DEAD_STREAM}", request)
    except ApiError as error:
        if error.err_code != NOT_DELETED or await _is_there(link, sequence):
            raise


async def _is_there(link: Link, sequence: int) -> bool:
    try:
        await link.api(f"STREAM.MSG.GET.{DEAD_STREAM}", {"seq": sequence})
    except ApiError as error:
        if error.err_code == MESSAGE_NOT_FOUND:
            return False
        raise
    return True
