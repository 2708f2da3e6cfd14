"""Which region the names shall lead to: what is decided, and from what.

Pure: who looks, who changes records and who is told is in `cli.dns_failover`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

#: How our notes beside a record begin, so that nobody else's is taken for one.
_MARK = "dns-failover:"


class Region(StrEnum):
    """Where we run; the first is where we want to be."""

    FALKENSTEIN = "falkenstein"
    ASHBURN = "ashburn"

    @property
    def other(self) -> "Region":
        """Return the other one."""
        return Region.ASHBURN if self is Region.FALKENSTEIN else Region.FALKENSTEIN


PRIMARY = Region.FALKENSTEIN


@dataclass(frozen=True, slots=True)
class Note:
    """What was seen before, kept beside the record: a reason to move, and since when.

    Attributes:
        seen: `down`: where the name leads nobody answers. `back`: the primary answers
            again. `both`: neither answers.
        since: When it was first seen, and at every look since.
    """

    seen: str
    since: datetime

    def __str__(self) -> str:
        """Return it as it is kept."""
        return f"{_MARK} {self.seen} since {self.since:%Y-%m-%dT%H:%M:%SZ}"

    @classmethod
    def read(cls, text: str) -> "Note | None":
        """Return the note that `str` made; none where it is something else."""
        mark, _, rest = text.partition(" ")
        seen, _, since = rest.partition(" since ")
        if mark != _MARK or seen not in {"down", "back", "both"}:
            return None
        try:
            at = datetime.fromisoformat(since)
        except ValueError:
            return None
        return cls(seen, at.astimezone(UTC))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long something has to be seen before anything is done.

    Attributes:
        down: Of a region that does not answer, before its name is moved.
        back: Of a primary that answers again; longer, because it may be restarting.
    """

    down: timedelta = timedelta(minutes=2)
    back: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one name.

    Attributes:
        region: Where it shall lead.
        note: What is to be kept beside it; none clears it.
        alert: What people have to hear, or nothing.
    """

    region: Region
    note: Note | None
    alert: str = ""


def decide(
    current: Region,
    healthy: frozenset[Region],
    note: Note | None,
    *,
    now: datetime,
    patience: Patience,
) -> Decision:
    """Return where a name shall lead that leads to `current` now.

    Two watchers that see the same decide the same, and one that sees no reason to
    move clears the other's note: a region that any watcher reaches is left only when
    that watcher is gone too.
    """
    seen = _reason(current, healthy)
    if not seen:
        return Decision(current, None, _recovered(note))
    if note is None or note.seen != seen:
        both = (
            f"No region answers; the name stays in {current}." if seen == "both" else ""
        )
        return Decision(current, Note(seen, now), both)
    wait = patience.back if seen == "back" else patience.down
    if seen == "both" or now - note.since < wait:
        return Decision(current, note)
    why = "answers again" if seen == "back" else "does not answer"
    about = PRIMARY if seen == "back" else current
    alert = (
        f"The name leads to {current.other} now: {about} {why} "
        f"since {note.since:%H:%M:%S} UTC."
    )
    return Decision(current.other, None, alert)


def _reason(current: Region, healthy: frozenset[Region]) -> str:
    if not healthy:
        return "both"
    if current not in healthy:
        return "down"
    if current is not PRIMARY and PRIMARY in healthy:
        return "back"
    return ""


def _recovered(note: Note | None) -> str:
    # Whoever was told that nobody answers is told that it is over.
    return "A region answers again." if note and note.seen == "both" else ""
