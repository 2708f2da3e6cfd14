"""What became of a batch, as figures, as a table and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self

from rich.console import Console
from rich.table import Table

_OUTCOMES = ("sent", "failed", "unknown", "suppressed", "cancelled")
#: More invalid rows than this are counted, not shown.
_SHOWN_INVALID = 20


@dataclass(frozen=True, slots=True)
class Deliveries:
    """What a local sink's own ledger says about one batch.

    Attributes:
        accepted: How many different recipients it accepted.
        repeated: Accepted deliveries beyond the first of each recipient.
    """

    accepted: int
    repeated: int


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one batch; None where nobody can tell.

    Attributes:
        lost: Recipients that should have been delivered and were not.
        repeated: Deliveries beyond the first of each recipient.
        seconds: From queued to finished.
    """

    batch_id: str
    rows: int
    recipients: int
    duplicates: int
    invalid: int
    sent: int
    failed: int
    unknown: int
    suppressed: int
    cancelled: int
    lost: int | None
    repeated: int | None
    seconds: float | None
    recipients_per_s: float | None

    @classmethod
    def of(cls, batch: Mapping[str, Any], deliveries: Deliveries | None = None) -> Self:
        """Return the figures of a batch as the API shows it."""
        seconds = _seconds(batch)
        recipients = batch["recipients"]
        counts = {name: batch["counts"][name] for name in _OUTCOMES}
        return cls(
            batch_id=batch["id"],
            rows=batch["rows"],
            recipients=recipients,
            duplicates=batch["duplicates"],
            invalid=batch["invalid"],
            **counts,
            lost=_lost(recipients, counts, deliveries) if deliveries else None,
            repeated=deliveries.repeated if deliveries else None,
            seconds=seconds,
            recipients_per_s=round(recipients / seconds, 1) if seconds else None,
        )

    def as_json(self, *, with_id: bool = True) -> dict[str, Any]:
        """Return one flat object."""
        figures = asdict(self)
        if not with_id:
            del figures["batch_id"]
        return figures


def _lost(recipients: int, counts: Mapping[str, int], deliveries: Deliveries) -> int:
    excused = sum(counts[name] for name in _OUTCOMES if name != "sent")
    # An unknown one may well have been accepted, so the difference can be negative.
    return max(0, recipients - excused - deliveries.accepted)


def _seconds(batch: Mapping[str, Any]) -> float | None:
    began, ended = _time(batch["queuedAt"]), _time(batch["finishedAt"])
    if began is None or ended is None:
        return None
    return round((ended - began).total_seconds(), 3)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def show_result(console: Console, batch: Mapping[str, Any], result: Result) -> None:
    """Print the figures as a table."""
    console.print(f"{batch['name']} is {batch['status']}.", markup=False)
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in result.as_json(with_id=False).items():
        table.add_row(name.replace("_per_s", " per second"), _figure(value))
    console.print(table)
    for name, count in (batch.get("sentBy") or {}).items():
        console.print(f"Sent by {name}: {count:,}", markup=False)
    if batch.get("reason"):
        console.print(f"Reason: {batch['reason']}", markup=False)
    if batch.get("limitedBy"):
        console.print(f"Waits: {waits_for(batch)}.", markup=False)


def waits_for(batch: Mapping[str, Any]) -> str:
    """Return what a batch waits for, or nothing."""
    limited = batch.get("limitedBy")
    return str(limited["text"]) if limited else ""


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def show_invalid(
    console: Console, errors: Sequence[Mapping[str, Any]], count: int
) -> None:
    """Print the first rows that were not taken, by line of the file; maybe none."""
    if not count:
        return
    console.print(f"Rows that were left out because they are invalid: {count:,}")
    table = Table()
    table.add_column("line", justify="right")
    table.add_column("reason")
    for error in errors[:_SHOWN_INVALID]:
        table.add_row(f"{error['line']:,}", str(error["reason"]))
    if count > _SHOWN_INVALID:
        table.add_row("…", f"and {count - _SHOWN_INVALID:,} more")
    console.print(table)


def show_stations(console: Console, batch: Mapping[str, Any]) -> None:
    """Print how long the batch was at each station; nothing when none is known."""
    stations = batch.get("stations") or []
    if not stations:
        return
    console.print("Time at each station:")
    table = Table()
    table.add_column("station")
    table.add_column("began", justify="right")
    table.add_column("seconds", justify="right")
    began = _time(batch["queuedAt"])
    for station in stations:
        table.add_row(
            station["name"],
            _after(began, _time(station["startedAt"])),
            _figure(station["seconds"]),
        )
    console.print(table)


def _after(start: datetime | None, moment: datetime | None) -> str:
    if start is None or moment is None:
        return "-"
    return f"+{(moment - start).total_seconds():.2f} s"
