"""Stations 6 to 8: one delivery of one chunk, from its message to its ack.

The order is the promise (design, rule 4): tokens, rendering, the claim committed
before a byte leaves, the calls, the record, the advance, and the ack only when the
ledger says done. Nobody above may retry, time or interrupt this: the actor has no
Dramatiq retries and no time limit.
"""

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from brokers import Delivery
from hot_state.limiter import TURNS_S
from models import bits
from models import chunk as rules
from models.chunk import CallIntent, Chunk
from models.errors import BatchSenderError
from models.jobs import SendChunk
from models.outcome import Answer
from models.plan import Plan
from models.queries import publishing
from providers.provider import Call, File
from tasks.counting import call_seconds, count_answered
from tasks.ledger_row import LONGEST_NAK_S, LedgerRow
from tasks.tokens import Tokens
from tasks.worker import SUPPRESSIONS_HORIZON_S, Sender, Worker

log = logging.getLogger("batchsender.send")

#: Crashes after which a chunk is a dead letter.
MOST_CRASHES = 5
#: A key is not trusted in the last hour of its life.
KEY_MARGIN_S = 3600.0
#: Statuses in which calls begun are not repeated now, but later.
_STANDING = ("paused", "held")

_NOT_CALLED = Answer(taken_up=False, is_called=False)


class PoisonChunkError(BatchSenderError):
    """A chunk that ended its workers too often; its message is a dead letter."""


def send(
    worker: Worker, job: SendChunk, delivery: Delivery, *, urgent: bool = False
) -> None:
    """Bring a chunk forward and settle its message.

    What is urgent takes the tokens it needs before those who were given turns.
    """
    sender = worker.senders.of(job.batch_id)
    if sender is None:
        log.error("There is no sealed batch %s; its message is dropped.", job.batch_id)
        return
    tokens = Tokens(worker, sender, urgent=urgent)
    ChunkRun(worker, sender, job, delivery, tokens).run()


class ChunkRun:
    """One delivery of one chunk; whoever loses the row begins and settles nothing."""

    def __init__(
        self,
        worker: Worker,
        sender: Sender,
        job: SendChunk,
        delivery: Delivery,
        tokens: Tokens,
    ) -> None:
        self._worker = worker
        self._sender = sender
        self._plan = sender.plan
        self._job = job
        self._delivery = delivery
        self._row = LedgerRow(worker, job, delivery)
        self._tokens = tokens
        self._messages: list[dict[str, object] | None] = []
        self._files: Sequence[File] = ()

    def run(self) -> None:
        """Claim, call, record, advance; then ack, postpone or leave."""
        try:
            self._run()
        finally:
            self._tokens.give_back()

    def _run(self) -> None:
        fresh = Chunk(self._job.batch_id, self._job.no, self._job.first, self._job.size)
        # A message that came back is claimed with nothing in call, so that a job
        # which kills workers is counted before it is rendered.
        if self._delivery.deliveries == 1:
            fresh = self._rendered(fresh)
            calls, wait_s = self._tokens.for_next_calls(fresh.open)
            if wait_s:
                self._row.wait(wait_s)
                return
            fresh = self._begun(fresh, calls)
        elif (
            0 < (wait_s := self._tokens.before_claiming(fresh.size)) < TURNS_S * 2
            and not self._waits_in_vain
        ):
            # Nothing is written; longer waits look at the row, which may be another's.
            self._row.wait(wait_s)
            return
        claimed = self._row.claim(fresh)
        if claimed is None:
            self._row.leave_to_others()
            return
        held, status = claimed
        if held.token == 1 and held.in_call:
            self._send(held)
        else:
            self._take_over(held, status)

    @property
    def _waits_in_vain(self) -> bool:
        """Tell whether the provider has been failing for longer than we wait for it."""
        return self._tokens.failing_for_s >= self._plan.patience.for_s

    def _take_over(self, held: Chunk, status: str) -> None:
        held = self._row.with_records(held, keyed=self._plan.calling(held).keyed)
        held = rules.with_late_facts(held)
        if held.crashes >= MOST_CRASHES:
            self._bury(held)
            return
        held = rules.given_up(
            held,
            [c for c in held.in_call if not self._may_repeat(c, status)],
            "The worker was lost during the call; nobody can tell whether it was sent.",
        )
        # Whoever is called again without having been answered was in doubt.
        held = replace(held, doubt=held.doubt | held.calling)
        if status == "cancelled":
            held = rules.ended(held, cancelled=True)
        self._go_on(rules.with_late_facts(held), status)

    def _go_on(self, held: Chunk, status: str) -> None:
        """Repeat the calls of a row that was taken over, or declare the next ones."""
        if held.in_call and (status in _STANDING or self._is_held(held)):
            self._row.advance(held, None, wait_s=LONGEST_NAK_S)
            return
        held = self._rendered(held)
        if held.in_call:
            self._send(held)
        elif (then := self._advanced(held, 0.0)) is not None:
            self._send(then)

    def _is_held(self, held: Chunk) -> bool:
        """Tell whether the calls under way are a fall-back's that is held.

        The claim has asked that of the batch's own config.
        """
        plan = self._sender.by(held.in_call[0].account).plan
        own = plan.config_id == self._plan.config_id
        return not own and self._worker.accounts.is_held(plan)

    def _send(self, held: Chunk) -> None:
        """Make the calls that were declared, and those that follow."""
        then: Chunk | None = held
        while then is not None:
            self._delivery.touch()
            held, wait_s = self._called(then)
            self._row.record(held)
            then = self._advanced(held, wait_s)

    def _called(self, held: Chunk) -> tuple[Chunk, float]:
        calls, before = held.in_call, held
        sender = self._sender.by(calls[0].account)
        wait_s = self._tokens.secured(calls)
        away = replace(_NOT_CALLED, retry_after_s=wait_s, reason="No tokens.")
        answers = [away] * len(calls) if wait_s else self._answers(sender, calls)
        self._tokens.used(answers)
        self._heed(sender.plan, calls, answers)
        for call, answer in zip(calls, answers, strict=True):
            held = self._after(held, call, answer, keyed=sender.plan.keyed)
            if (held.open | held.calling) & call.members:
                wait_s = max(wait_s, self._pause_s(held, call, answer))
            if answer.rate is not None and answer.rate.remaining < 1 and held.open:
                wait_s = max(wait_s, answer.rate.reset_s)
        count_answered(sender.plan.provider, before, held)
        return held, wait_s

    def _after(
        self, held: Chunk, call: CallIntent, answer: Answer, *, keyed: bool
    ) -> Chunk:
        held = rules.answered(held, call, answer, keyed=keyed)
        # What holds the account refuses nobody: a person, or time, will mend it.
        if not answer.is_called or answer.hold is not None:
            return held
        return rules.refused(
            held,
            call.members,
            self._plan.patience,
            at=time.time(),
            reason=answer.reason,
        )

    def _answers(self, sender: Sender, calls: Sequence[CallIntent]) -> list[Answer]:
        # Never by this thread: only the pool knows how many calls there are at once.
        return list(self._worker.callers.map(partial(self._answer, sender), calls))

    def _answer(self, sender: Sender, call: CallIntent) -> Answer:
        if not self._row.is_fresh:
            # Too little is left of the lease: the call never began.
            return replace(_NOT_CALLED, reason="The lease was nearly over.")
        made = Call(
            key=call.key(self._plan.batch_id, self._job.no),
            batch_id=self._plan.batch_id,
            messages=self._messages_of(call),
            deadline_s=self._worker.timing.call_deadline_s,
            files=self._files,
        )
        with call_seconds(sender.plan.provider).time():
            return sender.provider.send(made)

    def _messages_of(self, call: CallIntent) -> list[dict[str, object]]:
        messages = (self._messages[at] for at in bits.positions(call.members))
        return [message for message in messages if message is not None]

    def _heed(
        self, plan: Plan, calls: Sequence[CallIntent], answers: Sequence[Answer]
    ) -> None:
        self._worker.words.heed(plan, self._tokens.levels, answers)
        if any(answer.hold or answer.suppress for answer in answers):
            called = [[str(m["to"]) for m in self._messages_of(c)] for c in calls]
            self._worker.demands.heed(plan, answers, called)

    def _advanced(self, held: Chunk, wait_s: float) -> Chunk | None:
        """Write what is known; return the row with its next calls, or none to make."""
        then = None
        if not held.in_call and held.open and not wait_s:
            calls, wait_s = self._tokens.for_next_calls(held.open, doubt=held.doubt)
            if wait_s and self._waits_in_vain:
                held, wait_s = _ended(held), 0.0
            elif not wait_s:
                then = self._begun(held, calls)
        advanced = self._row.advance(held, then, wait_s=wait_s)
        if advanced is not None and advanced.goes_on:
            return then
        return None

    def _bury(self, held: Chunk) -> None:
        held = rules.buried(held)
        if self._row.bury(held):
            which = f"Chunk {held.no} of batch {held.batch_id}"
            raise PoisonChunkError(f"{which} ended {held.crashes} workers.")

    def _may_repeat(self, call: CallIntent, status: str) -> bool:
        age_s = time.time() - call.begun_at
        plan = self._sender.by(call.account).plan
        return (
            plan.keyed
            and status in ("processing", *_STANDING)
            and call.account == plan.account
            and age_s < self._worker.settings.key_life_s - KEY_MARGIN_S
        )

    def _rendered(self, chunk: Chunk) -> Chunk:
        """Render, and leave out whom no message is for."""
        addresses, variables = self._people()
        rendered = self._sender.templates.render(
            self._plan.batch_id, self._job.first, addresses, variables
        )
        self._messages = rendered.messages
        self._files = self._worker.files.of(self._plan)
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
            if recent is not None:
                return [*self._job.suppressed, *recent]
        with self._worker.database.statement() as connection:
            seqs = publishing.suppressed_seqs(
                connection,
                self._plan,
                self._job.first,
                self._job.first + self._job.size - 1,
            )
        return [seq - self._job.first for seq in seqs]

    def _begun(self, chunk: Chunk, calls: Sequence[int]) -> Chunk:
        return rules.begun(
            chunk,
            calls,
            account=self._tokens.plan.account,
            at=time.time(),
            by_fallback=self._tokens.is_by_fallback,
        )

    def _pause_s(self, held: Chunk, call: CallIntent, answer: Answer) -> float:
        """Return the back-off, or what the provider asked for, and a little more."""
        wait_s = answer.retry_after_s
        if wait_s is None:
            # Deliveries also count those that waited for tokens or for the breaker.
            refused = rules.times_refused(held, call.members)
            wait_s = 2.0 ** min(refused or self._delivery.deliveries, 4)
        # Those who were refused together shall not come back together.
        return wait_s * random.uniform(1.0, 1.25)  # noqa: S311 - it hides nothing


def _ended(held: Chunk) -> Chunk:
    """Return the chunk with everybody failed who waits for the provider in vain."""
    reason = "The provider has been failing for too long; nobody was called any more."
    return rules.left_out(held, failed=dict.fromkeys(bits.positions(held.open), reason))
