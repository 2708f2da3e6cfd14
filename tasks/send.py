"""Stations 6 to 8: one delivery of one chunk, from its message to its ack.

The order is the promise (design, rule 4): tokens, rendering, the claim committed
before a byte leaves, the calls, the record, the advance, and the ack only when the
ledger says done. Nobody above may retry, time or interrupt this: the actor has no
Dramatiq retries and no time limit.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from brokers import Delivery
from models import bits
from models import chunk as rules
from models.chunk import CallIntent, Chunk
from models.errors import BatchSenderError, NeighbourUnavailableError
from models.jobs import SendChunk
from models.outcome import Answer
from models.queries import ledger, publishing
from models.queries.ledger import Advanced
from providers.provider import Call
from tasks.worker import SUPPRESSIONS_HORIZON_S, Sender, Worker

log = logging.getLogger("batchsender.send")

#: A chunk that waits longer than this goes back to the ledger, its message acked.
LONGEST_NAK_S = 30.0
#: Recipients in a group where a call takes one.
SINGLES_IN_GROUP = 50
#: Crashes after which a chunk is a dead letter.
MOST_CRASHES = 5
#: A key is not trusted in the last hour of its life.
KEY_MARGIN_S = 3600.0
#: Tokens are used within this time or given back.
TOKENS_FRESH_S = 1.0
#: Seconds between attempts while Postgres does not answer.
_RETRY_S = 0.5


class PoisonChunkError(BatchSenderError):
    """A chunk that ended its workers too often; its message is a dead letter."""


def send(worker: Worker, job: SendChunk, delivery: Delivery) -> None:
    """Bring a chunk forward and settle its message."""
    sender = worker.senders.of(job.batch_id)
    if sender is None:
        log.error("There is no sealed batch %s; its message is dropped.", job.batch_id)
        return
    ChunkRun(worker, sender, job, delivery).run()


class ChunkRun:
    """One delivery of one chunk; whoever loses the row begins and settles nothing."""

    def __init__(
        self, worker: Worker, sender: Sender, job: SendChunk, delivery: Delivery
    ) -> None:
        self._worker = worker
        self._sender = sender
        self._plan = sender.plan
        self._job = job
        self._delivery = delivery
        self._messages: list[dict[str, object] | None] | None = None
        self._failed: dict[int, str] = {}
        self._tokens = 0
        self._taken_at = 0.0
        # Counted from before the claim, on a clock that a stopped machine keeps.
        self._held_since = 0.0

    def run(self) -> None:
        """Claim, call, record, advance; then ack, postpone or leave."""
        fresh = Chunk(self._job.batch_id, self._job.no, self._job.first, self._job.size)
        # A message that came back is claimed with nothing in call, so that a job
        # which kills workers is counted before it is rendered.
        if self._delivery.deliveries == 1:
            fresh = self._render(fresh)
            calls, wait_s = self._next_calls(fresh)
            if wait_s:
                self._wait(wait_s)
                return
            fresh = self._begun(fresh, calls)
        claimed = self._claim(fresh)
        if claimed is None:
            self._give_back()
            self._unclaimed()
            return
        held, status = claimed
        if held.token > 1 or not held.in_call:
            self._give_back()
            self._take_over(held, status)
        else:
            self._send(held)

    def _take_over(self, held: Chunk, status: str) -> None:
        held = rules.with_late_facts(self._with_records(held))
        if held.crashes >= MOST_CRASHES:
            self._bury(held)
            return
        repeated = [
            call
            for call in held.in_call
            if status != "cancelled" and self._may_repeat(call)
        ]
        held = rules.given_up(
            held,
            [call for call in held.in_call if call not in repeated],
            "The worker was lost during the call; nobody can tell whether it was sent.",
        )
        # Whoever is called again without having been answered was in doubt.
        held = replace(held, doubt=held.doubt | held.calling)
        if status == "paused":
            # The repeats wait until the batch goes on.
            self._advance(held, 0.0)
            return
        if status == "cancelled":
            held = rules.ended(held, cancelled=True)
        self._go_on(self._render(held))

    def _send(self, held: Chunk) -> None:
        """Make the calls that were declared, and those that follow."""
        while True:
            self._delivery.touch()
            held, wait_s = self._called(held)
            self._tokens = 0
            self._record(held)
            held, goes_on = self._advance(held, wait_s)
            if not goes_on:
                return

    def _go_on(self, held: Chunk) -> None:
        """Declare the next calls of a row that was taken over, and make them."""
        if held.in_call:
            self._send(held)
            return
        held, goes_on = self._advance(held, 0.0)
        if goes_on:
            self._send(held)

    def _called(self, held: Chunk) -> tuple[Chunk, float]:
        calls = held.in_call
        wait_s = self._secured(calls)
        away = Answer(taken_up=False, retry_after_s=wait_s, reason="No tokens.")
        answers = [away] * len(calls) if wait_s else self._answers(calls)
        for call, answer in zip(calls, answers, strict=True):
            held = rules.answered(held, call, answer, keyed=self._plan.keyed)
            again = (held.open | held.calling) & call.members
            if again:
                wait_s = max(wait_s, answer.retry_after_s or self._backoff_s())
        return held, wait_s

    def _answers(self, calls: Sequence[CallIntent]) -> list[Answer]:
        if len(calls) == 1:
            return [self._answer(calls[0])]
        return list(self._worker.callers.map(self._answer, calls))

    def _answer(self, call: CallIntent) -> Answer:
        if _now_s() - self._held_since > self._worker.timing.start_within_s:
            # Too little is left of the lease: the call never began.
            return Answer(taken_up=False, reason="The lease was nearly over.")
        messages = self._messages or []
        return self._sender.provider.send(
            Call(
                key=call.key(self._plan.batch_id, self._job.no),
                batch_id=self._plan.batch_id,
                messages=[
                    message
                    for at in bits.positions(call.members)
                    if (message := messages[at]) is not None
                ],
                deadline_s=self._worker.timing.call_deadline_s,
            )
        )

    def _advance(self, held: Chunk, wait_s: float) -> tuple[Chunk, bool]:
        """Write what is known; tell whether the next calls may begin."""
        then = None
        if not held.in_call and held.open and not wait_s:
            calls, wait_s = self._next_calls(held)
            then = None if wait_s else self._begun(held, calls)
        began = _now_s()
        long = wait_s > LONGEST_NAK_S and not held.in_call
        advanced = self._written(held, then, wait_s=wait_s, unpublish=long)
        if advanced is None:
            self._lost(held)
            return held, False
        if then is not None and advanced.goes_on:
            self._held_since = began
            return then, True
        self._give_back()
        self._settle(advanced, wait_s=0.0 if long else wait_s, acked=long)
        return held, False

    def _written(
        self,
        held: Chunk,
        then: Chunk | None,
        *,
        wait_s: float,
        unpublish: bool,
        dead: bool = False,
    ) -> Advanced | None:
        """Advance; ask again for as long as Postgres is away.

        What was answered must not be forgotten, and nobody else can claim meanwhile.
        A repeated advance writes the same again, or finds the row done.
        """
        while True:
            try:
                with self._worker.database.statement() as connection:
                    return ledger.advance(
                        connection,
                        held,
                        then=then,
                        lease_s=self._worker.timing.lease_s,
                        wait_s=wait_s,
                        unpublish=unpublish,
                        dead=dead,
                    )
            except NeighbourUnavailableError as error:
                log.warning("An advance waits: %s", error)
                self._delivery.touch()
                time.sleep(_RETRY_S)

    def _settle(self, advanced: Advanced, *, wait_s: float, acked: bool) -> None:
        if advanced.done or acked or advanced.status == "paused":
            return
        if advanced.status == "cancelled":
            with self._worker.database.statement() as connection:
                ledger.close_cancelled(connection)
        # A chunk that was closed just now is acked at its next delivery.
        self._delivery.postpone(wait_s)

    def _lost(self, held: Chunk) -> None:
        """Hand in what was answered as facts; the row is another holder's now."""
        with self._worker.database.statement() as connection:
            ledger.add_late_facts(
                connection, held.batch_id, held.no, sent=held.sent, size=held.size
            )
        self._unclaimed(leave=True)

    def _bury(self, held: Chunk) -> None:
        reason = f"Sending it ended {held.crashes} workers; see the dead letters."
        held = rules.ended(held, cancelled=False, reason=reason)
        if self._written(held, None, wait_s=0.0, unpublish=False, dead=True) is None:
            self._lost(held)
            return
        raise PoisonChunkError(
            f"Chunk {held.no} of batch {held.batch_id} ended {held.crashes} workers."
        )

    def _unclaimed(self, *, leave: bool = False) -> None:
        """Settle a message whose chunk is not ours to send now."""
        with self._worker.database.statement() as connection:
            seen = ledger.look(
                connection,
                self._job.batch_id,
                self._job.no,
                margin_s=self._worker.timing.take_over_after_s,
            )
            if seen.state == "open" and seen.status == "cancelled":
                ledger.close_cancelled(connection)
                return
        if seen.state in (None, "done"):
            return
        if seen.state == "open" and (seen.status != "processing" or seen.held_reason):
            self._unpublish(0.0)
        elif leave:
            self._delivery.leave()
        else:
            self._delivery.postpone(min(max(seen.wait_s, 0.1), LONGEST_NAK_S))

    def _wait(self, wait_s: float) -> None:
        """Hold a chunk back for tokens: nothing is written, or it is unpublished."""
        if wait_s > LONGEST_NAK_S:
            self._unpublish(wait_s)
        else:
            self._delivery.postpone(wait_s)

    def _unpublish(self, wait_s: float) -> None:
        """Give the chunk back to expansion; the message is acked, a copy is too."""
        with self._worker.database.statement() as connection:
            ledger.unpublish(
                connection,
                self._job.batch_id,
                self._job.no,
                epoch=self._job.epoch,
                wait_s=wait_s,
            )

    def _claim(self, fresh: Chunk) -> tuple[Chunk, str] | None:
        """Claim the row; a lost reply is asked again by the claim's id (rule 4c)."""
        claim_id = uuid4()
        timing = self._worker.timing
        self._held_since = _now_s()
        try:
            with self._worker.database.statement() as connection:
                return ledger.claim(
                    connection,
                    fresh,
                    claim_id,
                    lease_s=timing.lease_s,
                    margin_s=timing.take_over_after_s,
                )
        except NeighbourUnavailableError as error:
            log.warning("The claim's reply was lost: %s", error)
        while _now_s() - self._held_since < timing.start_within_s:
            self._delivery.touch()
            time.sleep(_RETRY_S)
            try:
                with self._worker.database.statement() as connection:
                    return ledger.claimed_as(connection, fresh, claim_id)
            except NeighbourUnavailableError as error:
                log.warning("Postgres is still away: %s", error)
        # Nothing was called. If the claim was committed its lease ends by itself.
        raise NeighbourUnavailableError("Postgres was away for longer than a lease.")

    def _with_records(self, held: Chunk) -> Chunk:
        """Take what former holders had recorded; Dragonfly away is no record."""
        try:
            for no, token in self._worker.outcomes.waiting(held.batch_id):
                if no != held.no:
                    continue
                record = self._worker.outcomes.find(held.batch_id, no, token)
                if record is not None:
                    held = rules.recorded(held, record, keyed=self._plan.keyed)
        except NeighbourUnavailableError as error:
            log.warning("Taken over without a record: %s", error)
        return held

    def _record(self, held: Chunk) -> None:
        """Put bits and outcome into Dragonfly, if it is there (rule 4e)."""
        try:
            self._worker.outcomes.record(
                held.batch_id, held.no, held.token, held.first, held.size, held.outcome
            )
        except NeighbourUnavailableError as error:
            log.warning("An outcome is only in the ledger: %s", error)

    def _may_repeat(self, call: CallIntent) -> bool:
        age_s = time.time() - call.begun_at
        return (
            self._plan.keyed
            and call.account == self._plan.account
            and age_s < self._worker.settings.key_life_s - KEY_MARGIN_S
        )

    def _render(self, chunk: Chunk) -> Chunk:
        """Render once, and leave out whom no message is for."""
        addresses, variables = self._people()
        rendered = self._sender.templates.render(
            self._plan.batch_id, self._job.first, addresses, variables
        )
        self._messages = rendered.messages
        return rules.left_out(
            chunk,
            suppressed=bits.of_positions(self._suppressed(addresses)),
            failed=rendered.failed,
        )

    def _people(self) -> tuple[Sequence[str], Sequence[dict[str, object]]]:
        if self._job.addresses is not None and self._job.variables is not None:
            return self._job.addresses, self._job.variables  # type: ignore[return-value]  # JSON objects are dicts.
        with self._worker.database.statement() as connection:
            return publishing.recipients_range(
                connection,
                self._job.batch_id,
                first=self._job.first,
                size=self._job.size,
            )

    def _suppressed(self, addresses: Sequence[str]) -> list[int]:
        if time.time() - self._job.published_at < SUPPRESSIONS_HORIZON_S:
            recent = self._worker.suppressions.positions(self._plan, addresses)
            return [*self._job.suppressed, *recent]
        with self._worker.database.statement() as connection:
            seqs = publishing.suppressed_seqs(
                connection,
                self._plan,
                self._job.first,
                self._job.first + self._job.size - 1,
            )
        return [seq - self._job.first for seq in seqs]

    def _next_calls(self, chunk: Chunk) -> tuple[list[int], float]:
        """Return the next group's calls with their tokens taken, or the wait."""
        calls = _group(chunk.open, self._plan.grid.call)
        return calls, self._taken(calls) if calls else 0.0

    def _secured(self, calls: Sequence[CallIntent]) -> float:
        """Return 0.0 with fresh tokens for these calls in hand, or the wait.

        Tokens that lay for a second while Postgres was slow are not used: ten workers
        must not fire together what the limit had spread (rule 4a).
        """
        if self._tokens and _now_s() - self._taken_at < TOKENS_FRESH_S:
            return 0.0
        self._give_back()
        return self._taken([call.members for call in calls])

    def _taken(self, calls: Sequence[int]) -> float:
        tokens = len(calls)
        if self._plan.capabilities.counts == "recipients":
            tokens = sum(members.bit_count() for members in calls)
        wait_s = self._worker.limiter.take(self._sender.buckets, tokens)
        if not wait_s:
            self._tokens, self._taken_at = tokens, _now_s()
        return wait_s

    def _begun(self, chunk: Chunk, calls: Sequence[int]) -> Chunk:
        return rules.begun(chunk, calls, account=self._plan.account, at=time.time())

    def _give_back(self) -> None:
        """Return tokens for calls that did not begin, while they are fresh."""
        if self._tokens:
            self._worker.limiter.give_back(self._sender.buckets, self._tokens)
            self._tokens = 0

    def _backoff_s(self) -> float:
        return float(2 ** min(self._delivery.deliveries, 4))


def _group(members: int, call: int) -> list[int]:
    """Cut the next group of calls from those who are open."""
    if not members:
        return []
    places = bits.positions(members)
    if call > 1:
        if len(places) <= call:
            return [members]
        return [bits.of_positions(places[:call])]
    return [1 << at for at in places[:SINGLES_IN_GROUP]]


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
