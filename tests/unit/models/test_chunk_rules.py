"""The rules of a ledger row, against a provider that does its worst.

The machine keeps what truly became of everybody beside what the row says, and checks
after each step what design section 5 promises, whatever the order of the steps.
"""

from dataclasses import dataclass, replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from models import bits, chunk
from models.chunk import CallIntent, Chunk
from models.outcome import Answer

FATES = ("taken", "refused", "later", "unreadable")


@dataclass
class Provider:
    """What the provider truly did; with keys it does each call once."""

    keyed: bool
    times: dict[int, int]
    known: dict[int, dict[int, str]]

    def deal(self, call: CallIntent, draw) -> dict[int, str]:
        """Return the fate of each member, as it is or already was."""
        if self.keyed and call.no in self.known:
            return self.known[call.no]
        places = bits.positions(call.members)
        fates = {at: draw(st.sampled_from(FATES)) for at in places}
        for at, fate in fates.items():
            # Nobody can read the answer, and it may have been taken.
            if fate == "taken" or (fate == "unreadable" and draw(st.booleans())):
                self.times[at] += 1
        self.known[call.no] = fates
        return fates


def answer_of(fates: dict[int, str]) -> Answer:
    """The answer that tells the fates, by member of the call."""
    members = list(enumerate(fates.values()))
    return Answer(
        accepted=bits.of_positions(i for i, fate in members if fate == "taken"),
        failed={i: "No such mailbox." for i, fate in members if fate == "refused"},
        unanswered=bits.of_positions(i for i, f in members if f == "unreadable"),
        provider_ids=[f"id-{i}" if fate == "taken" else None for i, fate in members],
    )


def nothing_of(call: CallIntent) -> Answer:
    return Answer(unanswered=bits.everyone(call.members.bit_count()))


class LedgerRow(RuleBasedStateMachine):
    """One row, its holders and its provider."""

    @initialize(size=st.integers(1, 5), keyed=st.booleans())
    def start(self, size, keyed):
        self.keyed = keyed
        self.row = Chunk("b", 0, 0, size)
        self.provider = Provider(keyed, dict.fromkeys(range(size), 0), {})
        self.reopened = dict.fromkeys(range(size), 0)
        self.flying: list[CallIntent] = []
        self.in_doubt: dict[int, int] = {}
        self.members_of: dict[int, int] = {}

    def subset(self, data, members: int) -> int:
        places = bits.positions(members)
        return bits.of_positions(at for at in places if data.draw(st.booleans()))

    @precondition(lambda self: self.row.open and not self.row.in_call)
    @rule(data=st.data())
    def begin(self, data):
        first = self.subset(data, self.row.open) or self.row.open
        rest = self.subset(data, self.row.open & ~first)
        calls = [members for members in (first, rest) if members]
        self.row = chunk.begun(self.row, calls, account="a:1", at=0.0)
        for call in self.row.in_call:
            assert call.no not in self.members_of, "a key is never used again"
            self.members_of[call.no] = call.members

    @precondition(lambda self: self.row.in_call)
    @rule(data=st.data())
    def an_answer_comes(self, data):
        call = data.draw(st.sampled_from(self.row.in_call))
        kind = data.draw(st.sampled_from(["told", "lost", "flying", "turned away"]))
        self.row = self.after(self.row, call, kind, data)

    def after(self, row: Chunk, call: CallIntent, kind: str, data) -> Chunk:
        if kind == "turned away":
            answer = Answer(taken_up=False, retry_after_s=1.0)
        elif kind == "told":
            answer = answer_of(self.provider.deal(call, data.draw))
        else:
            answer = nothing_of(call)
            if kind == "lost":
                self.provider.deal(call, data.draw)
            else:
                self.flying.append(call)
        return chunk.answered(row, call, answer, keyed=self.keyed)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def a_call_arrives_late(self, data):
        """A worker was stopped and wakes: its one call still goes out."""
        call = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        self.provider.deal(call, data.draw)

    @precondition(lambda self: self.row.in_call)
    @rule(data=st.data(), has_recorded=st.booleans())
    def the_holder_is_lost(self, data, has_recorded):
        row = self.row
        kinds = st.sampled_from(["told", "lost", "flying", "turned away"])
        for call in self.row.in_call:
            row = self.after(row, call, data.draw(kinds), data)
        if has_recorded:
            self.row = chunk.recorded(self.row, row.outcome, keyed=self.keyed)
        self.take_over(data)

    def take_over(self, data):
        row = chunk.with_late_facts(self.row)
        repeated = [c for c in row.in_call if self.keyed and data.draw(st.booleans())]
        row = chunk.given_up(row, [c for c in row.in_call if c not in repeated], "")
        self.row = replace(row, doubt=row.doubt | row.calling)

    @rule(data=st.data())
    def somebody_is_left_out(self, data):
        suppressed = self.subset(data, bits.everyone(self.row.size))
        failed = bits.positions(self.subset(data, bits.everyone(self.row.size)))
        called = self.row.calling
        self.row = chunk.left_out(
            self.row, suppressed=suppressed, failed=dict.fromkeys(failed, "No name.")
        )
        assert not self.row.open & suppressed, "nobody on a suppression list is called"
        assert self.row.calling == called

    @rule(data=st.data())
    def a_late_fact_comes(self, data):
        taken = bits.of_positions(at for at, n in self.provider.times.items() if n)
        self.row = replace(self.row, late=self.row.late | self.subset(data, taken))

    @rule()
    def late_facts_are_taken(self):
        self.row = chunk.with_late_facts(self.row)
        assert not self.row.late & (self.row.open | self.row.unknown)

    @rule(cancelled=st.booleans())
    def it_ends(self, cancelled):
        doubted = self.row.calling | (self.row.open & self.row.doubt)
        self.row = chunk.ended(self.row, cancelled=cancelled, reason="Over.")
        assert self.row.decided == bits.everyone(self.row.size)
        assert self.row.unknown & doubted == doubted

    @precondition(lambda self: self.row.unknown and not self.row.open)
    @rule(data=st.data())
    def the_unknown_are_reopened(self, data):
        """`at_least_once`, after the window: only they may be repeated."""
        again = self.subset(data, self.row.unknown)
        self.row = replace(self.row, unknown=self.row.unknown & ~again)
        for at in bits.positions(again):
            self.reopened[at] += 1

    @invariant()
    def nobody_is_in_two_sets_and_everybody_is_in_one(self):
        row = self.row
        parts = [row.open, *(call.members for call in row.in_call)]
        parts += [row.sent, row.failed, row.unknown, row.suppressed, row.cancelled]
        assert sum(part.bit_count() for part in parts) == row.size
        assert bits.everyone(row.size) == row.open | row.calling | row.decided

    @invariant()
    def calls_keep_their_members_while_in_doubt(self):
        row = self.row
        assert all(self.members_of[call.no] == call.members for call in row.in_call)
        now = {call.no: call.members for call in row.in_call}
        assert all(number <= row.calls for number in now)

    @invariant()
    def who_is_sent_stays_sent_and_was_taken(self):
        before = getattr(self, "sent_before", 0)
        assert self.row.sent & before == before
        self.sent_before = self.row.sent
        assert all(self.provider.times[at] for at in bits.positions(self.row.sent))

    @invariant()
    def who_failed_or_was_left_out_was_never_taken(self):
        never = self.row.failed | self.row.suppressed | self.row.cancelled
        assert not any(self.provider.times[at] for at in bits.positions(never))

    @invariant()
    def doubt_ends_sent_or_unknown(self):
        """Under a key it may end failed, by that very key."""
        wrong = self.row.suppressed | self.row.cancelled
        if not self.keyed:
            wrong |= self.row.failed
        assert not self.row.doubt & wrong

    @invariant()
    def nobody_is_repeated_but_who_was_reopened(self):
        for at, times in self.provider.times.items():
            assert times <= 1 + self.reopened[at]


LedgerRow.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestLedgerRow = LedgerRow.TestCase
