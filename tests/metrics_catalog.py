"""Every metric there is, as the code defines it, and the table that tells them.

`python -m tests.metrics_catalog` writes the table into docs/metrics.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

import telemetry
from brokers import metrics as broker_metrics
from brokers.figures import StoreFigures

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
_BEGIN, _END = "<!-- the table: python -m tests.metrics_catalog -->", "<!-- end -->"
_UNITS = ("seconds", "bytes")


@dataclass(frozen=True, order=True)
class Known:
    """One metric: its name as it is defined, without `_total` or `_bucket`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str

    @property
    def unit(self) -> str:
        """What its name ends in says the unit; the others are numbers of things."""
        return next((one for one in _UNITS if one in self.name.split("_")), "number")

    @property
    def exposed(self) -> dict[str, tuple[str, ...]]:
        """The names that a scrape has of it, with their labels."""
        if self.kind == "counter":
            return {f"{self.name}_total": self.labels}
        if self.kind == "histogram":
            ends = {"sum": (), "count": (), "bucket": ("le",)}
            return {f"{self.name}_{end}": self.labels + le for end, le in ends.items()}
        return {self.name: self.labels}


def known() -> list[Known]:
    """Return all metrics by name: processes', the leader's and the broker's."""
    of_broker = CollectorRegistry()
    broker_metrics.Metrics(of_broker)
    found = [*_counted(telemetry.METRICS), *_counted(of_broker)]
    found += [
        Known(one.name, "figure", one.labels, one.text)
        for one in telemetry.FIGURES.values()
    ]
    families = [
        *broker_metrics._by_queue(()),
        *broker_metrics._by_class(()),
        *broker_metrics._of_store(StoreFigures(0, 1)),
    ]
    found += [
        Known(
            one.name,
            "figure",
            tuple(getattr(one, "_labelnames", ())),
            one.documentation,
        )
        for one in families
    ]
    found.append(Known("dramatiq_nats_up", "figure", (), "Whether NATS answers."))
    # Who imported the workers has the broker's among the processes' already.
    return sorted(set(found))


def exposed() -> dict[str, tuple[str, ...]]:
    """Return every name that a scrape can have, with its labels."""
    return {name: labels for one in known() for name, labels in one.exposed.items()}


def table() -> str:
    """Return the table of docs/metrics.md."""
    lines = [
        "| metric | kind | unit | labels | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in known():
        labels = " ".join(f"`{label}`" for label in one.labels)
        cells = (f"`{one.name}`", one.kind, one.unit, labels, one.text)
        lines.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return "\n".join(lines)


def written() -> str:
    """Return the page with the table as it must be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    return f"{before}{_BEGIN}\n\n{table()}\n\n{_END}{after}"


def _counted(registry: CollectorRegistry) -> Iterable[Known]:
    for one in registry._collector_to_names:
        kind = type(one).__name__.lower()
        yield Known(one._name, kind, tuple(one._labelnames), one._documentation)


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
