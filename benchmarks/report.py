"""Figures as tables for people and as one line of JSON for programs."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.meters import Memory, per_recipient_us
from benchmarks.run import Run

# A line cut by a narrow terminal would hide figures.
_CONSOLE = Console(width=100, highlight=False)


def show(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; the first column is text, the others are figures."""
    table = Table(title=title, title_justify="left")
    for at, head in enumerate(heads):
        table.add_column(head, justify="right" if at else "left")
    for row in rows:
        table.add_row(*map(_shown, row))
    _CONSOLE.print(table)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def figures(run: Run, chunk: int) -> dict[str, Any]:
    """Return a run as the fields of the last line."""
    return {
        "recipients": run.recipients,
        "chunk": chunk,
        "recipients_per_s": round(run.per_s),
        "seconds": round(run.seconds, 2),
        "outcomes": dict(run.outcomes),
        "lost": run.lost,
        "repeated": run.repeated,
        "cpu_s": {name: round(spent, 2) for name, spent in run.cpu_s.items()},
        "us_per_recipient": per_recipient_us(run.cpu_s, run.recipients),
        "stations": {
            name: {
                "from_s": round(begun, 2),
                "to_s": round(ended, 2),
                "us_per_recipient": round((ended - begun) / run.recipients * 1e6, 2),
            }
            for name, (begun, ended) in run.stations.items()
        },
        "rss_mb": {name: round(m.largest, 1) for name, m in run.memory.items()},
    }


def show_run(told: Mapping[str, Any]) -> None:
    """Print one run's figures."""
    show(
        "The whole way, from queued to every outcome in Postgres and ClickHouse",
        ("", ""),
        [
            ("recipients", told["recipients"]),
            ("recipients a second", told["recipients_per_s"]),
            ("seconds", told["seconds"]),
            *told["outcomes"].items(),
            ("lost", told["lost"]),
            ("repeated", told["repeated"]),
        ],
    )
    show(
        "By process",
        ("process", "CPU s", "µs a recipient", "largest memory MB"),
        [
            (name, spent, told["us_per_recipient"][name], told["rss_mb"].get(name, "-"))
            for name, spent in told["cpu_s"].items()
        ]
        + [("total", "", told["us_per_recipient"]["total"], "")],
    )
    show(
        "By station; they overlap",
        ("station", "begins s", "ends s", "µs a recipient"),
        [(name, *times.values()) for name, times in told["stations"].items()],
    )


def show_writes(ours: Mapping[str, float], single: Mapping[str, float]) -> None:
    """Print what Postgres wrote beside one UPDATE a recipient."""
    show(
        "What Postgres writes",
        ("", "this way", "one UPDATE a recipient"),
        [(name, ours.get(name, "-"), value) for name, value in single.items()],
    )


def show_memory(runs: Mapping[int, Mapping[str, Memory]]) -> dict[str, float]:
    """Print the largest memory of each process by size; returns its growth."""
    (small, at_small), (large, at_large) = runs.items()
    growth = {
        name: round(at_large[name].largest / max(at_small[name].largest, 0.1), 2)
        for name in at_small
    }
    show(
        "Largest memory in MB",
        ("process", f"{small:,}", f"{large:,}", "ratio"),
        [
            (name, at_small[name].largest, at_large[name].largest, growth[name])
            for name in at_small
        ],
    )
    return growth
