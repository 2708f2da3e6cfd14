"""What the local sink wrote down: one line of JSON for each call it was sent.

A line is `{"t": unix seconds, "key": text or null, "hash": 16 hex digits of the
body's SHA-256, "batch": id, "seqs": ranges, "answer": …, "status": n}`, written before
the call is answered. `answer` is

* `accepted`: the recipients were taken, but for those in `rejected` (ranges, absent
  where there are none);
* `refused`: nobody was taken, as `status` told the caller;
* `hung`: nobody was taken, and no answer was given.

`"replay": true` marks a known key with the same body, answered as before: no second
delivery. Ranges are written `0-499,501`, in the order of the call.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

_ONE_MORE = bytes([*range(1, 256), 255])


def to_ranges(seqs: Sequence[int]) -> str:
    """Return `0-499,501` for 0 to 499 and 501, in the order given."""
    if len(seqs) > 1 and seqs == list(range(seqs[0], seqs[0] + len(seqs))):
        return f"{seqs[0]}-{seqs[-1]}"
    found: list[list[int]] = []
    for seq in seqs:
        if found and found[-1][1] + 1 == seq:
            found[-1][1] = seq
        else:
            found.append([seq, seq])
    return ",".join(f"{a}-{b}" if b > a else str(a) for a, b in found)


def from_ranges(text: str) -> Iterator[range]:
    """Yield what `to_ranges` wrote, as ranges."""
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        yield range(int(first), int(last or first) + 1)


@dataclass(frozen=True, slots=True)
class SinkCall:
    """One call that reached the sink.

    Attributes:
        t: When it was written down, in seconds since 1970.
        key: Its idempotency key.
        body_hash: The first 16 hex digits of its body's SHA-256.
        batch: Its batch.
        seqs: Its recipients, as ranges.
        rejected: Those of them that the sink refused, as ranges.
        answer: `accepted`, `refused` or `hung`.
        status: The HTTP status told, or to be told; 0 where it hung.
        is_replay: It repeats an earlier call and was delivered by that one.
    """

    t: float
    key: str | None
    body_hash: str
    batch: str
    seqs: str
    rejected: str
    answer: str
    status: int
    is_replay: bool

    @property
    def is_delivery(self) -> bool:
        """Tell whether this very call made recipients get something."""
        return self.answer == "accepted" and not self.is_replay


@dataclass(slots=True)
class SinkLedger:
    """The whole ledger, in the order of the calls.

    Attributes:
        calls: All calls, refused and repeated ones too.
        deliveries: By batch, how often each seq was delivered (at most 255 counted).
    """

    calls: list[SinkCall] = field(default_factory=list)
    deliveries: dict[str, bytearray] = field(default_factory=dict)

    def add(self, call: SinkCall) -> None:
        """Take in one more call."""
        self.calls.append(call)
        if not call.is_delivery:
            return
        counts = self.deliveries.setdefault(call.batch, bytearray())
        rejected = {seq for part in from_ranges(call.rejected) for seq in part}
        for part in from_ranges(call.seqs):
            if part.stop > len(counts):
                counts.extend(bytes(part.stop - len(counts)))
            if len(part) > 1 and rejected.isdisjoint(part):
                counts[part.start : part.stop] = counts[
                    part.start : part.stop
                ].translate(_ONE_MORE)
                continue
            for seq in part:
                if seq not in rejected:
                    counts[seq] = _ONE_MORE[counts[seq]]

    def accepted(self, batch: str) -> int:
        """Return how many different recipients of the batch were delivered to."""
        counts = self.deliveries.get(batch, b"")
        return len(counts) - counts.count(0)

    def lost(self, batch: str, sent: int | Iterable[int]) -> list[int]:
        """Return who should have got a message and has none, in order.

        `sent` is the seqs that we call sent, or their number if that is 0 … n-1.
        """
        counts = self.deliveries.get(batch, b"")
        if isinstance(sent, int):
            if sent <= len(counts) and not counts.count(0, 0, sent):
                return []
            sent = range(sent)
        return [seq for seq in sent if seq >= len(counts) or not counts[seq]]

    def repeated(self, batch: str) -> list[int]:
        """Return who got more than one message, in order."""
        counts = self.deliveries.get(batch, b"")
        if counts.count(0) + counts.count(1) == len(counts):
            return []
        return [seq for seq, count in enumerate(counts) if count > 1]


def read(path: Path) -> SinkLedger:
    """Return the ledger in a file; one that does not exist is empty.

    A last line without an end was being written when the sink was killed. Its call
    was never answered, and it is left out.
    """
    ledger = SinkLedger()
    if not path.exists():
        return ledger
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                ledger.add(_call(orjson.loads(line)))
    return ledger


def _call(line: dict[str, Any]) -> SinkCall:
    return SinkCall(
        t=line["t"],
        key=line["key"],
        body_hash=line["hash"],
        batch=line["batch"],
        seqs=line["seqs"],
        rejected=line.get("rejected", ""),
        answer=line["answer"],
        status=line["status"],
        is_replay=line.get("replay", False),
    )
