"""A row of the ledger, and the rules by which one holder may change it.

Pure: what Postgres keeps is read into a `Chunk`, changed here, and written back by
one guarded statement (`models.queries.ledger`). Rules are design section 5.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from models import bits
from models.outcome import Answer, Outcome
from models.patience import Patience, Refusal, only, refused_again

#: Why somebody failed whom nobody called because the job ended its workers, and how
#: SQL finds those again.
BURIED = "Sending it ended {crashes} workers; see the dead letters."
BURIED_LIKE = BURIED.format(crashes="%")


@dataclass(frozen=True, slots=True)
class CallIntent:
    """A call that was begun, or is about to be, and has no answer yet.

    Attributes:
        no: The call's number in its chunk, from 1; part of its idempotency key.
        members: The positions it carries, as a set; fixed for ever.
        account: Who calls; a key means something to this account only.
        begun_at: When it was first begun, in seconds since the epoch.
        doubted: Those members for whom an earlier call had no answer: a refusal of
            this one proves nothing about that one.
    """

    no: int
    members: int
    account: str
    begun_at: float
    doubted: int = 0

    def key(self, batch_id: str, chunk_no: int) -> str:
        """Return the idempotency key: nothing of the content is in it."""
        return f"{batch_id}:{chunk_no}:{self.no}"

    def to_json(self) -> dict[str, Any]:
        """Return the shape kept in `chunks.in_call`."""
        return {
            "no": self.no,
            "members": f"{self.members:x}",
            "account": self.account,
            "begun_at": self.begun_at,
            "doubted": f"{self.doubted:x}",
        }

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> "CallIntent":
        """Read what `to_json` wrote."""
        return cls(
            no=value["no"],
            members=int(value["members"], 16),
            account=value["account"],
            begun_at=value["begun_at"],
            doubted=int(value.get("doubted", "0"), 16),
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the ledger says of one chunk; sets of positions as in `models.bits`.

    Whoever is in no call and in none of the five outcomes is *open*; nobody is in
    two. `doubt` are those for whom a call was ever made without an answer, `refusals`
    those who are open because they were refused for now, `by_fallback` those whose last
    call was declared by the fall-back.
    """

    batch_id: str
    no: int
    first: int
    size: int
    token: int = 0
    crashes: int = 0
    calls: int = 0
    in_call: tuple[CallIntent, ...] = ()
    sent: int = 0
    failed: int = 0
    unknown: int = 0
    suppressed: int = 0
    cancelled: int = 0
    doubt: int = 0
    late: int = 0
    provider_ids: Mapping[int, str] = field(default_factory=dict)
    errors: Mapping[int, str] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    by_fallback: int = 0

    @property
    def decided(self) -> int:
        """Return the positions that have an outcome."""
        return self.sent | self.failed | self.unknown | self.suppressed | self.cancelled

    @property
    def calling(self) -> int:
        """Return the positions in a call that has no answer."""
        return _members_of(self.in_call)

    @property
    def open(self) -> int:
        """Return the positions that may be called."""
        return bits.everyone(self.size) & ~self.decided & ~self.calling

    @property
    def outcome(self) -> Outcome:
        """Return what a record in Dragonfly says of this chunk."""
        return Outcome(
            sent=self.sent,
            failed=self.failed,
            unknown=self.unknown,
            suppressed=self.suppressed,
            provider_ids=self.provider_ids,
            errors=self.errors,
        )


def taken_by(chunk: Chunk, token: int) -> Chunk:
    """Return the chunk as the holder of `token` writes it."""
    return replace(chunk, token=token)


def begun(
    chunk: Chunk,
    calls: Sequence[int],
    *,
    account: str,
    at: float,
    by_fallback: bool = False,
) -> Chunk:
    """Return the chunk with calls to these sets of members declared."""
    members = sum(calls)
    intents = tuple(
        CallIntent(chunk.calls + number, members, account, at, members & chunk.doubt)
        for number, members in enumerate(calls, start=1)
    )
    return replace(
        chunk,
        in_call=chunk.in_call + intents,
        calls=chunk.calls + len(calls),
        by_fallback=chunk.by_fallback & ~members | (members if by_fallback else 0),
    )


def left_out(
    chunk: Chunk, *, suppressed: int = 0, failed: Mapping[int, str] | None = None
) -> Chunk:
    """Return the chunk without those who must not be called at all.

    Only who is open can be left out. Somebody who was ever in doubt may have got a
    message: that is neither *failed* nor *suppressed* but *unknown*.
    """
    may = chunk.open & ~chunk.doubt
    out = suppressed | bits.of_positions(failed or ())
    reasons = {
        position: reason
        for position, reason in (failed or {}).items()
        if (may & ~suppressed) >> position & 1
    }
    return replace(
        chunk,
        suppressed=chunk.suppressed | (suppressed & may),
        failed=chunk.failed | bits.of_positions(reasons),
        unknown=chunk.unknown | (out & chunk.open & chunk.doubt),
        errors={**chunk.errors, **reasons},
    )


def answered(chunk: Chunk, call: CallIntent, answer: Answer, *, keyed: bool) -> Chunk:
    """Return the chunk after a provider's answer to one of its calls.

    Accepted beats refused beats none. Without a key, no answer is *unknown* at once,
    and so is under any key what no repetition can decide (*409 other body*).
    With a key the call stays, to be repeated as it is; and while it is in doubt, a
    refusal of the whole call proves nothing about the first one (rules 5, 6).
    """
    places = bits.positions(call.members)
    sent = _placed(places, answer.accepted)
    failed = {places[member]: why for member, why in answer.failed.items()}
    none = _placed(places, answer.unanswered)
    lost = _placed(places, answer.undecidable)
    if keyed:
        in_doubt = bool(call.members & chunk.doubt)
        nothing_new = in_doubt and not answer.taken_up
        if none or nothing_new:
            return replace(chunk, doubt=chunk.doubt | call.members)
    rest = _without(chunk, call)
    refused = bits.of_positions(failed)
    # An earlier call, under no key or another one, may have been accepted.
    unproven = refused & call.doubted
    ids = {
        places[member]: provider_id
        for member, provider_id in enumerate(answer.provider_ids)
        if provider_id is not None
        and (sent == call.members or sent >> places[member] & 1)
    }
    return replace(
        rest,
        sent=rest.sent | sent,
        failed=rest.failed | (refused & ~unproven),
        unknown=rest.unknown | none | lost | unproven,
        doubt=rest.doubt | none | lost,
        provider_ids={**rest.provider_ids, **ids},
        errors={
            **rest.errors,
            **failed,
            **_unanswered(none | lost, answer.reason),
        },
    )


def recorded(chunk: Chunk, record: Outcome, *, keyed: bool) -> Chunk:
    """Return the chunk after what its last holder had put into Dragonfly.

    A call of which the record knows anything was answered. Under a key, those of its
    members that the record does not name were refused, so they are open; without
    one they stay in call, and their taker gives them up.
    """
    news = chunk.calling & record.answered
    if not news:
        return chunk
    sent = news & record.sent
    failed = news & ~sent
    told = [call for call in chunk.in_call if call.members & news]
    left = [call for call in chunk.in_call if not call.members & news]
    unproven = 0
    if keyed:
        unproven = _members_of(told) & record.unknown & ~news
    else:
        rest = (replace(call, members=call.members & ~news) for call in told)
        left += [call for call in rest if call.members]
    return replace(
        chunk,
        in_call=tuple(left),
        sent=chunk.sent | sent,
        failed=chunk.failed | failed,
        unknown=chunk.unknown | unproven,
        provider_ids={**chunk.provider_ids, **_of(record.provider_ids, sent)},
        errors={**chunk.errors, **_of(record.errors, failed | unproven)},
    )


def refused(
    chunk: Chunk, members: int, patience: Patience, *, at: float, reason: str
) -> Chunk:
    """Return the chunk after a provider refused these for now.

    Who is still open of them was refused once more; who has been refused long enough
    has failed, or is unknown who was ever in doubt.
    """
    members &= chunk.open
    refusals = refused_again(chunk.refusals, members, at)
    worn_out = {
        position: f"Refused for now {one.times} times, the last time: {reason}"
        for one in refusals
        if one.members & members and patience.is_over(one, at)
        for position in bits.positions(one.members & members)
    }
    chunk = left_out(chunk, failed=worn_out)
    return replace(chunk, refusals=only(refusals, chunk.open))


def times_refused(chunk: Chunk, members: int) -> int:
    """Return how often one of these members was refused for now, at most."""
    return max((r.times for r in chunk.refusals if r.members & members), default=0)


def given_up(chunk: Chunk, calls: Iterable[CallIntent], reason: str) -> Chunk:
    """Return the chunk with these calls' members unknown: nobody calls them again."""
    for call in calls:
        chunk = replace(
            _without(chunk, call),
            unknown=chunk.unknown | call.members,
            doubt=chunk.doubt | call.members,
            errors={**chunk.errors, **_unanswered(call.members, reason)},
        )
    return chunk


def with_late_facts(chunk: Chunk) -> Chunk:
    """Return the chunk with those sent whom a former holder knew to be sent."""
    facts = chunk.late & (chunk.open | chunk.unknown)
    return replace(chunk, sent=chunk.sent | facts, unknown=chunk.unknown & ~facts)


def ended(chunk: Chunk, *, cancelled: bool, reason: str = "") -> Chunk:
    """Return the chunk with everybody decided: the batch, or the job, is over.

    Who is in a call, or was ever in doubt, becomes *unknown*; the others are
    cancelled with the batch, or fail with `reason`.
    """
    chunk = given_up(chunk, chunk.in_call, reason)
    doubted = chunk.open & chunk.doubt
    rest = chunk.open & ~chunk.doubt
    errors = dict.fromkeys(bits.positions(rest), reason) if reason else {}
    return replace(
        chunk,
        unknown=chunk.unknown | doubted,
        cancelled=chunk.cancelled | (rest if cancelled else 0),
        failed=chunk.failed | (0 if cancelled else rest),
        errors={**chunk.errors, **errors},
    )


def buried(chunk: Chunk) -> Chunk:
    """Return the chunk as its dead letter leaves it; a replay opens it again."""
    reason = BURIED.format(crashes=chunk.crashes)
    return ended(chunk, cancelled=False, reason=reason)


def _members_of(calls: Iterable[CallIntent]) -> int:
    found = 0
    for call in calls:
        found |= call.members
    return found


def _without(chunk: Chunk, call: CallIntent) -> Chunk:
    return replace(
        chunk, in_call=tuple(other for other in chunk.in_call if other.no != call.no)
    )


def _placed(places: Sequence[int], members: int) -> int:
    if members == bits.everyone(len(places)):
        return bits.of_positions(places) if _gaps(places) else _run(places)
    return bits.of_positions(places[member] for member in bits.positions(members))


def _gaps(places: Sequence[int]) -> bool:
    return not places or places[-1] - places[0] + 1 != len(places)


def _run(places: Sequence[int]) -> int:
    return bits.everyone(len(places)) << places[0]


def _of(texts: Mapping[int, str], members: int) -> dict[int, str]:
    return {at: value for at, value in texts.items() if members >> at & 1}


def _unanswered(members: int, reason: str) -> dict[int, str]:
    text = reason or "A call was made and no answer came."
    return dict.fromkeys(bits.positions(members), text) if members else {}
