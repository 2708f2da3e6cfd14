"""Station 5: publish the open rows of a batch's ledger, page by page.

Publishing is at least once: publish, wait for the ack, then mark. There is no
cursor; what is left is a query, so a kill anywhere leaves rows that the next pass
finds. A second copy has the same message id (rule 3).
"""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import orjson
from dramatiq.errors import BrokerError

from brokers import JetStreamBroker, MessageTooLarge, dispatch
from hot_state.lock import Lease
from models.errors import InvalidInputError, NeighbourUnavailableError
from models.jobs import ExpandBatch, SendChunk
from models.plan import Plan
from models.queries import publishing
from models.queries.publishing import PageChunk
from tasks.worker import Worker

log = logging.getLogger("batchsender.expand")

#: No more is out than a config may send in this time.
WINDOW_S = 60.0
#: The fewest and the most chunks of a config that are out.
WINDOW_CHUNKS = (16, 4000)
#: Chunks published, and then marked, in one go.
PUBLISHED_TOGETHER = 16
#: Renewed with each of these; a batch whose expansion was killed waits so long.
LEASE_S = 5.0


def expand_or_wait(worker: Worker, broker: JetStreamBroker, job: ExpandBatch) -> int:
    """Expand as `expand`; where that cannot go on, say why and leave it for later.

    Discovery asks again for what is left every 2 s, so nothing is retried here. A
    queue that takes nothing is the batch's reason until it takes something again.
    """
    try:
        published = expand(worker, broker, job)
    except NeighbourUnavailableError as error:
        log.warning("The expansion waits: %s", error)
        return 0
    except BrokerError as error:
        log.warning("The queue takes nothing: %s", error)
        _note(worker, job, publishing.QUEUE_TAKES_NOTHING)
        return 0
    if published:
        _note(worker, job, None)
    return published


def _note(worker: Worker, job: ExpandBatch, reason: str | None) -> None:
    with worker.database.statement() as connection:
        publishing.note_reason(connection, job.batch_id, reason)


def expand(worker: Worker, broker: JetStreamBroker, job: ExpandBatch) -> int:
    """Publish what is open and unpublished, as far as the window goes.

    Returns how many chunks were published. A batch that is paused, cancelled or
    unknown has nothing to publish; one whose content or settings nobody can send by
    fails as a whole.
    """
    try:
        sender = worker.senders.of(job.batch_id)
    except InvalidInputError as error:
        log.warning("Batch %s cannot be sent: %s", job.batch_id, error)
        with worker.database.statement() as connection:
            publishing.fail_batch(connection, job.batch_id, str(error))
        return 0
    if sender is None:
        return 0
    # Discovery asks again every 2 s: a second expansion would publish the same pages.
    lease = worker.lease(f"expand:{job.batch_id}", ttl_s=LEASE_S)
    if not _renewed(lease):
        return 0
    try:
        return _publish_pages(worker, broker, sender.plan, lease)
    finally:
        _release(lease)


def _publish_pages(
    worker: Worker, broker: JetStreamBroker, plan: Plan, lease: Lease
) -> int:
    """Publish what the reader has read ahead, while it reads on."""
    room = _room(worker, plan)
    published = 0
    with ThreadPoolExecutor(1, thread_name_prefix="page") as reader:
        ahead = reader.submit(_read, worker, plan, after=-1, chunks=room)
        while (pages := ahead.result()) and _renewed(lease):
            last = pages[-1].chunk.no
            left = room - published - len(pages)
            ahead = reader.submit(_read, worker, plan, after=last, chunks=left)
            _publish(worker, broker, plan, pages)
            published += len(pages)
    return published


def _read(worker: Worker, plan: Plan, *, after: int, chunks: int) -> list["_Ready"]:
    """Return the next chunks, a page of recipients at a time; none when it is done."""
    most = max(1, worker.settings.expand_page_size // plan.grid.chunk)
    ready: list[_Ready] = []
    with worker.database.statement() as connection:
        while len(ready) < min(chunks, PUBLISHED_TOGETHER):
            page = publishing.next_page(
                connection,
                plan,
                after=ready[-1].chunk.no if ready else after,
                chunks=min(most, chunks - len(ready)),
            )
            if not page:
                break
            ready += [_Ready(chunk, _job(plan, chunk)) for chunk in page]
    return ready


def _publish(
    worker: Worker, broker: JetStreamBroker, plan: Plan, pages: Sequence["_Ready"]
) -> None:
    """Publish, then mark; a kill in between makes copies, which are harmless."""
    ids = [f"{plan.batch_id}:{one.chunk.no}:{one.chunk.epoch}" for one in pages]
    _send(broker, [one.job for one in pages], ids)
    marks = [(one.chunk.no, one.chunk.epoch) for one in pages]
    with worker.database.statement() as connection:
        publishing.mark_published(connection, plan.batch_id, marks)


@dataclass(frozen=True, slots=True)
class _Ready:
    chunk: PageChunk
    job: SendChunk


def _renewed(lease: Lease) -> bool:
    """Tell whether this expansion is the one; while Dragonfly is away, each is."""
    try:
        return lease.acquire()
    except NeighbourUnavailableError as error:
        log.warning("Expanding without a lease: %s", error)
        return True


def _release(lease: Lease) -> None:
    try:
        lease.release()
    except NeighbourUnavailableError as error:
        log.info("The lease ends by itself: %s", error)


def _room(worker: Worker, plan: Plan) -> int:
    fewest, most = WINDOW_CHUNKS
    window = int(plan.limit.per_s * WINDOW_S / plan.grid.chunk)
    with worker.database.statement() as connection:
        out = publishing.chunks_out(connection, plan.config_id)
    return min(max(window, fewest), most) - out


def _send(
    broker: JetStreamBroker, jobs: Sequence[SendChunk], ids: Sequence[str]
) -> None:
    # Pipelined, not atomic: half a page is found by the next query, and the server
    # takes it four times as fast (docs/decisions).
    try:
        dispatch.send_many(broker, jobs, dedup_ids=ids)
    except MessageTooLarge:
        # One of them is too large to be carried: they travel by name, and the worker
        # reads their ranges.
        log.info("Chunks of batch %s travel by name.", jobs[0].batch_id)
        by_name = [replace(job, addresses=None, variables=None) for job in jobs]
        dispatch.send_many(broker, by_name, dedup_ids=ids)


def _job(plan: Plan, chunk: PageChunk) -> SendChunk:
    return SendChunk(
        batch_id=plan.batch_id,
        tenant_id=plan.tenant_id,
        no=chunk.no,
        first=chunk.first,
        size=chunk.size,
        epoch=chunk.epoch,
        # Postgres wrote them as JSON; nobody reads them before the worker.
        addresses=orjson.Fragment(chunk.addresses),
        variables=orjson.Fragment(chunk.variables),
        suppressed=chunk.suppressed,
        published_at=time.time(),
    )
