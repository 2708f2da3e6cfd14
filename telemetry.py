"""How processes speak of themselves: log lines, and every metric in one place.

Metrics are only defined here; who serves `METRICS` decides where.
"""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_NO_FIELDS: Mapping[str, Any] = MappingProxyType({})

_context: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default=_NO_FIELDS)

#: All metrics of a process.
METRICS = CollectorRegistry()

#: Seconds from before a provider call to its answer or its deadline (20 s).
PROVIDER_CALL_SECONDS = Histogram(
    "batchsender_provider_call_seconds",
    "Seconds a call to a provider took, answered or not.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
    registry=METRICS,
)

#: Seconds a claim in the ledger took, its commit included.
CLAIM_SECONDS = Histogram(
    "batchsender_claim_seconds",
    "Seconds a claim in the ledger took, its commit included.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
    registry=METRICS,
)

#: Chunks whose outcome was folded into recipients and counters.
FOLDED_CHUNKS = Counter(
    "batchsender_folded_chunks",
    "Chunks folded into recipients and counters.",
    registry=METRICS,
)

#: Events that ClickHouse took; a chunk logged again counts again.
EVENT_ROWS = Counter(
    "batchsender_event_rows",
    "Events that ClickHouse took, repeats included.",
    registry=METRICS,
)

#: Chunks folded but not yet in ClickHouse: grows while ClickHouse is away.
UNLOGGED_CHUNKS = Gauge(
    "batchsender_unlogged_chunks",
    "Chunks folded whose events ClickHouse has not taken yet.",
    registry=METRICS,
)

#: Bytes on this process's disk that ClickHouse has not taken yet; at the cap, whose
#: default is 512 MB, nothing more is taken.
SPOOL_BYTES = Gauge(
    "batchsender_spool_bytes",
    "Bytes that wait on the disk for ClickHouse, by kind of rows.",
    ["rows"],
    registry=METRICS,
)

#: Calls that found a provider failing: 5xx, time-outs, connections that failed.
PROVIDER_FAULTS = Counter(
    "batchsender_provider_faults",
    "Calls that found a provider failing, by provider.",
    ["provider"],
    registry=METRICS,
)

#: Groups of calls that went out to find out whether a provider is back.
BREAKER_PROBES = Counter(
    "batchsender_breaker_probes",
    "Groups of calls that went out as probes, by provider.",
    ["provider"],
    registry=METRICS,
)

#: What became of breakers by reports of this process: `opened` or `closed`.
BREAKER_CHANGES = Counter(
    "batchsender_breaker_changes",
    "Circuit breakers that opened or closed, by provider and change.",
    ["provider", "change"],
    registry=METRICS,
)

#: Groups that waited for a provider to come back; each try counts.
BREAKER_WAITS = Counter(
    "batchsender_breaker_waits",
    "Groups of calls that an open breaker held back, by provider.",
    ["provider"],
    registry=METRICS,
)

#: Calls to tenants' endpoints that ended: `delivered` or `failed`.
OUTGOING_ATTEMPTS = Counter(
    "batchsender_outgoing_attempts",
    "Attempts to deliver to tenants' webhook endpoints, by how they ended.",
    ["outcome"],
    registry=METRICS,
)

#: Reports of providers by what became of them: `taken`, `repeated` (known by its id),
#: `waiting` (its message id is not known yet; each try counts), `nobody` (it names
#: nobody its account may speak of) or `aside` (not about what became of a message).
REPORTS = Counter(
    "batchsender_reports",
    "Reports of providers, by provider and what became of them.",
    ["provider", "became"],
    registry=METRICS,
)

#: Send configs that were stopped for their rate of bounces or complaints.
BRAKES = Counter(
    "batchsender_brakes",
    "Send configs stopped for their rate of bounces or complaints.",
    registry=METRICS,
)


def _no_fields() -> Mapping[str, Any]:
    return _NO_FIELDS


def configure_logging(
    process: str,
    *,
    level: int | str = logging.INFO,
    json: bool | None = None,
    fields: Callable[[], Mapping[str, Any]] = _no_fields,
) -> None:
    """Send every log record to standard error, one line each; again: replaces it.

    A line names its time in UTC, level, process, logger, text and `log_context`.

    Args:
        process: The name of this process, such as `worker`.
        level: The lowest level that is written.
        json: JSON objects instead of lines for people; none: unless standard error
            is a terminal. Keys: `time level process logger message`, those of the
            context, and `exception` with the trace.
        fields: What else each line names, asked when it is written, such as the job
            at hand; `log_context` wins where both name it.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    handler = logging.StreamHandler()
    handler.setFormatter((_JsonLine if as_json else _ReadableLine)(process, fields))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Our doors raise what they meet; their libraries need not tell it a second time.
    for library in ("boto3", "botocore", "clickhouse_connect", "urllib3"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    # Each round of each duty is no news.
    for library in ("alembic", "apscheduler"):
        logging.getLogger(library).setLevel(logging.ERROR)


@contextmanager
def log_context(**fields: object) -> Iterator[None]:
    """Add fields such as `batch_id` or `chunk` to every line logged inside.

    Holds for this thread or task alone; an inner field hides an outer one.
    """
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


class _Line(logging.Formatter):
    """What both kinds of line have in common: the process and its fields."""

    def __init__(self, process: str, fields: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__()
        self._process = process
        self._fields = fields

    def context(self) -> dict[str, Any]:
        """Return what the line names besides its text."""
        return {**self._fields(), **_context.get()}


class _JsonLine(_Line):
    """One JSON object a record, for machines that collect them."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            **self.context(),
            "time": _time(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # A line must not be lost for a field that JSON does not know.
        return orjson.dumps(line, default=str).decode()


class _ReadableLine(_Line):
    """One line a record, for people at a terminal; a trace follows below it."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {key}={value}" for key, value in self.context().items())
        line = (
            f"{_time(record):%H:%M:%S.%f}"[:12]
            + f" {record.levelname:<7} {self._process} {record.name}: "
            + record.getMessage()
            + fields
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)
