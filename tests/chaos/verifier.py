"""Exactly as promised: the thirteen checks at the end of the design's section 5.

Each check is a function of the evidence alone, so that it can be shown to fail; only
the thirteenth acts, and compares what was before with what is after.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from models import bits
from scheduler.timetable import Duty
from tests.chaos.audit import Version, in_call_during
from tests.chaos.batches import Batch, wait_ended
from tests.chaos.evidence import STATUSES, Evidence, gather, seqs_of, surely_refused
from tests.chaos.house import CALL_DEADLINE_S, CALL_MARGIN_S, Fault, House, until

#: Tokens may lie for so long before their call begins (rule 4a), and a call may
#: take this long to arrive at the sink on a busy machine.
TOKEN_AGE_S = 1.0

Window = tuple[float, float]


def verify(
    house: House,
    batch: Batch,
    *,
    status: str = "completed",
    faults: Sequence[Fault] = (),
    quiet: Sequence[Window] = (),
) -> Evidence:
    """Wait until a batch has ended and drained, then make all checks.

    Args:
        house: Where it was sent.
        batch: The batch.
        status: How it ends.
        faults: When calls under way may have been lost: only who was in call then
            may be unknown. None means that nobody may.
        quiet: From when to when nothing may be called: paused or cancelled.
    """
    wait_ended(house, batch, status)
    until(lambda: _is_drawn(gather(house, batch)), "the bitmaps are drawn", within_s=5)
    found = gather(house, batch)
    for check in CHECKS:
        check(found)
    bound = sum(
        in_call_during(found.versions, fault.begin_s, fault.end_s) for fault in faults
    )
    unknown_was_in_call(found, bound)
    for window in quiet:
        nothing_was_called(found, window)
    duties_change_nothing(house, batch, found)
    return found


def _is_drawn(found: Evidence) -> bool:
    return all(found.bitmaps[status] == found.ledger(status) for status in STATUSES)


def upload_is_partitioned(found: Evidence) -> None:
    """(1) Each row is somebody, double or bad; seqs are dense; chunks share them."""
    row, size = found.row, found.batch.recipients
    assert row["rows"] == found.uploaded, "Rows of the upload are missing."
    assert row["rows"] == row["invalid"] + row["duplicates"] + row["recipients"]
    assert row["recipients"] == size
    assert [seq for seq, _ in found.recipients] == list(range(size)), "Seqs have gaps."
    edges = [(chunk["first"], chunk["last"] + 1) for chunk in found.chunks]
    joined = [0, *(edge[1] for edge in edges)]
    assert [edge[0] for edge in edges] == joined[:-1], "Chunks overlap or have gaps."
    # A batch cancelled before it began has no ledger.
    assert not edges or joined[-1] == size, "The chunks do not reach the last seq."


def everybody_is_somewhere_once(found: Evidence) -> None:
    """(2) In every version of a row that was ever committed nobody is in two places."""
    for version in found.versions:
        where = f"chunk {version.no}, token {version.token}"
        taken = 0
        places = [*version.sets.values(), *(call.members for call in version.in_call)]
        for members in places:
            assert not members >> version.size, f"Somebody is outside of {where}."
            assert not taken & members, f"Somebody is twice in {where}."
            taken |= members
        if version.state == "done":
            assert taken == bits.everyone(version.size), f"Somebody is left in {where}."


def rows_only_go_forward(found: Evidence) -> None:
    """(2) Tokens, calls and epochs never fall; an outcome stays, but for unknown."""
    last: dict[int, Version] = {}
    for version in found.versions:
        before = last.get(version.no, version)
        last[version.no] = version
        where = f"chunk {version.no}, token {version.token}"
        assert version.token >= before.token, f"The token fell in {where}."
        assert version.calls >= before.calls, f"The calls' number fell in {where}."
        assert version.epoch >= before.epoch, f"The epoch fell in {where}."
        for name in ("sent", "failed", "suppressed", "cancelled"):
            gone = before.sets[name] & ~version.sets[name]
            assert not gone, f"Somebody {name} is not so any more in {where}."
        assert not before.doubt & ~version.doubt, f"A doubt is forgotten in {where}."


def all_agree_on_the_end(found: Evidence) -> None:
    """(3) Counters, recipients, ledger, bitmaps and ClickHouse say the same."""
    size = found.batch.recipients
    ended = Counter(found.status_of)
    assert set(ended) <= set(STATUSES), f"Somebody has no end: {ended}."
    for status in STATUSES:
        counted = found.row[status]
        assert counted == ended[status], f"The counter of {status} is wrong."
        assert found.events[status] == counted, f"ClickHouse counts {status} otherwise."
        if not found.chunks:
            continue
        drawn = "".join("01"[status == one] for one in found.status_of)
        _same(found.ledger(status), drawn, f"the ledger on who is {status}")
        _same(found.bitmaps[status], drawn, f"the bitmap on who is {status}")
    assert sum(found.row[status] for status in STATUSES) == size
    assert found.events["queued"] == size, "ClickHouse does not know who was queued."


def _same(told: str, wanted: str, who: str) -> None:
    wrong = [seq for seq in range(len(wanted)) if told[seq : seq + 1] != wanted[seq]]
    assert not wrong, f"Wrong is {who}: {len(wrong)}, first {wrong[:5]}."


def outcomes_are_true(found: Evidence) -> None:
    """(4) Who is sent was accepted; who failed or was left out was not."""
    lost = [seq for seq in found.seqs("sent") if not found.accepted[seq]]
    assert not lost, f"{len(lost)} sent were never accepted, first {lost[:5]}."
    left = found.seqs("failed", "suppressed", "cancelled")
    told = [seq for seq in left if found.accepted[seq]]
    assert not told, f"{len(told)} not sent were accepted, first {told[:5]}."


def nobody_is_called_twice(found: Evidence) -> None:
    """(5) Without a key, `at_most_once`: no call after one that may have succeeded."""
    if found.batch.keyed or found.batch.policy != "at_most_once":
        return
    taken: set[int] = set()
    for call in found.calls:
        again = taken.intersection(seqs_of(call))
        assert not again, f"{len(again)} were called again, first {sorted(again)[:5]}."
        if not surely_refused(call):
            taken.update(seqs_of(call))


def a_key_has_one_body(found: Evidence) -> None:
    """(6) One body a key; another key only after every call of the former failed."""
    if not found.batch.keyed:
        return
    bodies: dict[str, str] = {}
    former: dict[int, str] = {}
    open_keys: set[str] = set()
    for call in found.calls:
        assert call.key, "A call has no key."
        body = bodies.setdefault(call.key, call.body_hash)
        assert body == call.body_hash, f"Two bodies came with the key {call.key}."
        for seq in seqs_of(call):
            before = former.get(seq, call.key)
            wrong = before != call.key and before in open_keys
            assert not wrong, f"{seq} got the key {call.key} while {before} was open."
            former[seq] = call.key
        if not surely_refused(call):
            open_keys.add(call.key)
    again = [seq for seq, count in enumerate(found.accepted) if count > 1]
    assert not again, f"{len(again)} were delivered to twice, first {again[:5]}."


def nobody_is_left_out(found: Evidence) -> None:
    """(7) `at_least_once`: each is accepted or refused; only who was in doubt twice."""
    if found.batch.policy != "at_least_once" or found.row["status"] == "cancelled":
        return
    fine = {*found.seqs("failed", "suppressed")}
    lost = [seq for seq, n in enumerate(found.accepted) if not n and seq not in fine]
    assert not lost, f"{len(lost)} are left out, first {lost[:5]}."
    doubt = found.ledger("doubt")
    sure = [s for s, n in enumerate(found.accepted) if n > 1 and doubt[s] == "0"]
    assert not sure, f"{len(sure)} were repeated without a doubt, first {sure[:5]}."


def unknown_was_in_call(found: Evidence, bound: int) -> None:
    """(8) Unknown are at most those who were in call at a fault."""
    unknown = found.row["unknown"]
    assert unknown <= bound, f"{unknown} are unknown, {bound} were in call at faults."


def nobody_in_doubt_changed_provider(found: Evidence) -> None:
    """(14) One provider calls somebody only after the other surely refused to."""
    others = {id(call) for call in found.other_calls}
    open_at: dict[int, bool] = {}
    for call in found.calls:
        is_other = id(call) in others
        wrong = [seq for seq in seqs_of(call) if open_at.get(seq, is_other) != is_other]
        assert not wrong, f"{len(wrong)} went to another provider, first {wrong[:5]}."
        if not surely_refused(call):
            open_at.update(dict.fromkeys(seqs_of(call), is_other))


def the_ledger_knows_by_whom(found: Evidence) -> None:
    """(15) Who was sent by the fall-back is so in the ledger, and nobody else."""
    told = "".join(
        chunk["by_fallback"] or "0" * (chunk["last"] - chunk["first"] + 1)
        for chunk in found.chunks
    )
    taken = {seq for call in found.other_calls for seq in seqs_of(call)}
    for seq in found.seqs("sent"):
        assert (told[seq] == "1") == (seq in taken), f"{seq} was not sent as is told."


def intents_come_first(found: Evidence) -> None:
    """(9) The intent of each call was committed before the call, one for each."""
    intents = _intents(found)
    for call in found.calls:
        members = tuple(sorted(seqs_of(call)))
        declared = intents.get(members, {})
        if call.key is not None:
            number = int(call.key.rsplit(":", 1)[1])
            declared = {number: declared[number]} if number in declared else {}
        earlier = [no for no, at in declared.items() if at <= call.t]
        who = f"{members[0]}-{members[-1]}, key {call.key}"
        assert earlier, f"The call to {who} was made before its intent was committed."
        # Without keys kept, each intent is good for one call.
        if not found.batch.keyed:
            del intents[members][min(earlier)]


def _intents(found: Evidence) -> dict[tuple[int, ...], dict[int, float]]:
    """Return by members, then by the call's number, when it was first committed."""
    intents: defaultdict[tuple[int, ...], dict[int, float]] = defaultdict(dict)
    seen: set[tuple[int, int]] = set()
    for version in found.versions:
        for call in version.in_call:
            if (version.no, call.no) in seen:
                continue
            seen.add((version.no, call.no))
            assert call.no <= version.calls, "A call in the ledger was not counted."
            seqs = tuple(version.first + at for at in bits.positions(call.members))
            intents[seqs][call.no] = version.committed_at
    return intents


def nothing_is_left_over(found: Evidence) -> None:
    """(10) No message, no row open, claimed, unfolded or unlogged; letters match."""
    assert not found.stored, f"{found.stored} messages are left in the queues."
    states = Counter(chunk["state"] for chunk in found.chunks)
    assert set(states) <= {"done"}, f"Rows are left: {states}."
    for chunk in found.chunks:
        assert chunk["folded_at"], f"Chunk {chunk['no']} is not folded."
        assert chunk["logged_at"], f"Chunk {chunk['no']} is not logged."
        assert not chunk["in_call"], f"Chunk {chunk['no']} is in call."
    assert found.dead_letters == found.dead_rows, "Dead letters are not the dead rows."


def nothing_was_called(found: Evidence, window: Window) -> None:
    """(11) After a pause or a cancel only calls under way still arrive."""
    begin, end = window
    begin += CALL_DEADLINE_S + CALL_MARGIN_S
    late = [call.t - begin for call in found.calls if begin < call.t < end]
    assert not late, f"{len(late)} calls came late, the last {max(late):.1f} s."


def the_limit_holds(found: Evidence) -> None:
    """(12) In every window: calls ≤ rate x window + burst, counted in recipients."""
    limit = found.batch.limit
    earned = spent = 0.0
    lowest = float("inf")
    others = {id(call) for call in found.other_calls}
    mine = [call for call in found.calls if id(call) not in others]
    for call in sorted(mine, key=lambda one: one.t):
        # The worst window that ends here began where `spent - earned` was lowest.
        earned = limit.per_s * call.t
        lowest = min(lowest, spent - earned)
        spent += len(seqs_of(call))
        over = spent - earned - lowest - limit.burst
        allowed = limit.per_s * TOKEN_AGE_S
        assert over <= allowed, f"{over:.0f} too many until {call.t:.1f}."


def duties_change_nothing(house: House, batch: Batch, before: Evidence) -> None:
    """(13) Discovery, sync and recovery, twice, by two leaders: nothing changes."""
    with ThreadPoolExecutor(2) as leaders:
        list(leaders.map(_twice, house.duties()))
    after = gather(house, batch)
    for what in ("row", "chunks", "recipients", "bitmaps", "events", "versions"):
        assert getattr(after, what) == getattr(before, what), f"Duties changed {what}."


def _twice(duties: Sequence[Duty]) -> None:
    for duty in (*duties, *duties):
        until(partial(_done, duty), f"{duty.name} is done")


def _done(duty: Duty) -> bool:
    duty.do()
    return True


#: Those that need nothing but the evidence.
CHECKS: tuple[Callable[[Evidence], None], ...] = (
    upload_is_partitioned,
    everybody_is_somewhere_once,
    rows_only_go_forward,
    all_agree_on_the_end,
    outcomes_are_true,
    nobody_is_called_twice,
    a_key_has_one_body,
    nobody_is_left_out,
    nobody_in_doubt_changed_provider,
    the_ledger_knows_by_whom,
    intents_come_first,
    nothing_is_left_over,
    the_limit_holds,
)
