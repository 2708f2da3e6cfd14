"""How processes speak of themselves: log lines, and every metric in one place.

Metrics are only defined here, with their units; `middleware.metrics_page` serves them
and docs/metrics.md lists them. The broker's own are in `brokers.metrics`.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_NO_FIELDS: Mapping[str, Any] = MappingProxyType({})

_context: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default=_NO_FIELDS)

#: Whatever is defined below opens a file there, where several processes count
#: together (docs/decisions/0047).
if _shared := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    Path(_shared).mkdir(parents=True, exist_ok=True)

#: All metrics of a process.
METRICS = CollectorRegistry()

_CALL_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
_STATEMENT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)
_DUTY_S = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"batchsender_{name}", text, labels, registry=METRICS)


def _histogram(
    name: str, text: str, *labels: str, buckets: tuple[float, ...]
) -> Histogram:
    return Histogram(
        f"batchsender_{name}", text, labels, buckets=buckets, registry=METRICS
    )


#: `app` is `web` or `webhook`; `route` is the template and never a path with ids.
HTTP_REQUESTS = _counter(
    "http_requests",
    "Requests answered, by route template and status.",
    *("app", "method", "route", "status"),
)
HTTP_REQUEST_SECONDS = _histogram(
    "http_request_seconds",
    "Seconds until a request was answered, its body read.",
    *("app", "method", "route"),
    buckets=_REQUEST_S,
)

#: From before a call to its answer or its deadline (20 s).
PROVIDER_CALL_SECONDS = _histogram(
    "provider_call_seconds",
    "Seconds a call to a provider took, answered or not.",
    "provider",
    buckets=_CALL_S,
)
CLAIM_SECONDS = _histogram(
    "claim_seconds",
    "Seconds a claim in the ledger took, its commit included.",
    buckets=_STATEMENT_S,
)
#: Counted by the group of calls. Whoever had no message, or whose holder was lost,
#: is not among them.
ANSWERED_RECIPIENTS = _counter(
    "answered_recipients",
    "Recipients whom a call made sent, failed or unknown.",
    *("provider", "outcome"),
)
#: `status` is the recipient's new one, such as `bounced` or `complained`.
REPORTED_RECIPIENTS = _counter(
    "reported_recipients",
    "Recipients whom a provider's report moved, by their new status.",
    *("provider", "status"),
)
PROVIDER_FAULTS = _counter(
    "provider_faults",
    "Calls that found a provider failing: 5xx, time-outs, failed connections.",
    "provider",
)
BREAKER_PROBES = _counter(
    "breaker_probes", "Groups of calls that went out as probes.", "provider"
)
#: By reports of this process; `change` is `opened` or `closed`.
BREAKER_CHANGES = _counter(
    "breaker_changes",
    "Circuit breakers that opened or closed.",
    *("provider", "change"),
)
#: Each try counts.
BREAKER_WAITS = _counter(
    "breaker_waits", "Groups of calls that an open breaker held back.", "provider"
)

FOLDED_CHUNKS = _counter("folded_chunks", "Chunks folded into recipients and counters.")
EVENT_ROWS = _counter("event_rows", "Events that ClickHouse took, repeats included.")
DUTY_SECONDS = _histogram(
    "duty_seconds", "Seconds a round of a duty took.", "duty", buckets=_DUTY_S
)
DUTY_FAILURES = _counter(
    "duty_failures", "Rounds of a duty that failed or wait for a neighbour.", "duty"
)

#: On the disk of each process; at the cap (`SPOOL_CAP_BYTES`) nothing more is taken.
SPOOL_BYTES = Gauge(
    "batchsender_spool_bytes",
    "Bytes that wait on the disk for ClickHouse, by kind of rows.",
    ["rows"],
    registry=METRICS,
    multiprocess_mode="livesum",
)
#: Sampled every few seconds; it is the fuller of the process's two pools, and the
#: fullest of the processes that count together.
POOL_IN_USE = Gauge(
    "batchsender_database_pool_in_use",
    "Connections of a pool in use, the most at once since the last sample.",
    registry=METRICS,
    multiprocess_mode="livemax",
)
POOL_SIZE = Gauge(
    "batchsender_database_pool_size",
    "Connections that a pool may have.",
    registry=METRICS,
    multiprocess_mode="livemax",
)
#: Without Dragonfly every scheduler leads.
LEADS = Gauge(
    "batchsender_leads",
    "Whether this scheduler leads (1) or follows (0).",
    registry=METRICS,
    multiprocess_mode="livesum",
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A gauge that the leader looks up for all processes; `scheduler.figures`.

    Attributes:
        name: Its name, with the unit at its end where it has one.
        text: What it tells.
        labels: Their names.
    """

    name: str
    text: str
    labels: tuple[str, ...] = ()


def _figure(name: str, text: str, *labels: str) -> Figure:
    return FIGURES.setdefault(name, Figure(f"batchsender_{name}", text, labels))


#: By name, those below; a figure that cannot be looked up is missing, and not 0.
FIGURES: dict[str, Figure] = {}

NEIGHBOUR_UP = _figure(
    "neighbour_up", "Whether a neighbour answers the leader (1 or 0).", "neighbour"
)
WAITING_RECIPIENTS = _figure(
    "waiting_recipients",
    "Recipients without an outcome in batches that may be sent now.",
)
WAITING_EVENTS = _figure("waiting_events", "Reports that nobody has taken in yet.")
TENANT_WAITING_RECIPIENTS = _figure(
    "tenant_waiting_recipients",
    "As waiting_recipients, of the 20 tenants that have the most.",
    "tenant",
)
ACTIVE_BATCHES = _figure(
    "active_batches", "Batches that are queued, processing or paused.", "status"
)
STUCK_BATCHES = _figure(
    "stuck_batches",
    "Batches in which nothing moves and that wait for nothing (STUCK_AFTER_S).",
)
HELD_CONFIGS = _figure(
    "held_configs", "Send configs that are held with a reason.", "provider"
)
OPEN_BREAKERS = _figure(
    "open_breakers", "Circuit breakers that are not closed.", "provider"
)
SYNC_LAG_SECONDS = _figure(
    "sync_lag_seconds", "Age of the oldest outcome that is not folded."
)
EVENT_LOG_LAG_SECONDS = _figure(
    "event_log_lag_seconds", "Age of the oldest folded chunk not in ClickHouse."
)
UNLOGGED_CHUNKS = _figure(
    "unlogged_chunks", "Folded chunks not in ClickHouse, counted up to 10,000."
)
DATABASE_CONNECTIONS = _figure(
    "database_connections", "Connections that Postgres has, of all clients."
)
DATABASE_CONNECTIONS_LIMIT = _figure(
    "database_connections_limit", "Connections that Postgres takes."
)
DATABASE_REPLICATION_LAG_SECONDS = _figure(
    "database_replication_lag_seconds",
    "How far the last of Postgres' standbys is behind; missing without one.",
)
DRAGONFLY_MEMORY_BYTES = _figure(
    "dragonfly_memory_bytes", "Memory that Dragonfly's keys take."
)
DRAGONFLY_MEMORY_LIMIT_BYTES = _figure(
    "dragonfly_memory_limit_bytes",
    "Memory that Dragonfly's keys may take; missing without a limit.",
)
DRAGONFLY_EVICTED_KEYS = _figure(
    "dragonfly_evicted_keys", "Keys that Dragonfly threw away since it began."
)
CLICKHOUSE_DISK_FREE_BYTES = _figure(
    "clickhouse_disk_free_bytes", "Room on ClickHouse's disks.", "disk"
)
CLICKHOUSE_DISK_BYTES = _figure(
    "clickhouse_disk_bytes", "Size of ClickHouse's disks.", "disk"
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
