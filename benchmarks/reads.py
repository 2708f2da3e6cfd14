"""How long the reports take over ten million events: `make bench-reads`.

One tenant has all events, in batches over a month and in single messages, because
that is the one who waits longest. The last line is one JSON object.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid5

import orjson

from analytics.client import Client, connect
from analytics.migrations import migrate
from analytics.recipient_reports import batch_counts, standing_page
from analytics.reports import timeline
from analytics.tenant_reports import as_of, batch_page, days, failures
from embedded.stack import Stack
from models.status import RecipientStatus

TENANT = UUID(int=7)
LAST = date(2026, 11, 22)
DAYS = 30
CHUNK = 500
#: Of a batch's recipients, those who have each event, in a thousand.
REPORTED = {
    "delivered": 950,
    "opened": 300,
    "clicked": 60,
    "bounced": 30,
    "complained": 1,
}
#: Events of a recipient, all in all.
EVENTS_EACH = 2 + sum(REPORTED.values()) / 1000
#: Recipients written by one statement, so that the server stays within its memory.
STEP = 100_000
#: A percentile of fewer says little.
LEAST_TIMES = 40
GOAL_MS = 100.0

_CHUNKS = """
INSERT INTO chunk_log (* EXCEPT errors)
SELECT
    {tenant:UUID}, {batch:UUID}, {event:String}, number * 500, 500, '',
    {at:DateTime64(3, 'UTC')},
    if(
        {event:String} = 'queued',
        '',
        arrayStringConcat(
            arrayMap(
                n -> concat({batch:String}, toString(number * 500 + n)), range(500)
            ),
            '\\x1f'
        )
    ),
    'Newsletter'
FROM numbers({chunk:UInt64}, {chunks:UInt64})
"""
_REPORTS = """
INSERT INTO reported_log
SELECT
    {tenant:UUID}, {batch:UUID}, {event:String}, number,
    {at:DateTime64(3, 'UTC')} + toIntervalSecond(number % 100000), '',
    if({event:String} = 'bounced', concat('550 reason ', toString(number % 20)), '')
FROM numbers({first:UInt64}, {recipients:UInt64})
WHERE cityHash64(number, {event:String}) % 1000 < {share:UInt64}
"""
_SINGLES = """
INSERT INTO reported_log
SELECT
    {tenant:UUID}, generateUUIDv4(number), 'sent', 0,
    {at:DateTime64(3, 'UTC')} - toIntervalSecond(number * 40), '', ''
FROM numbers({messages:UInt64})
"""


def batch_ids(count: int) -> list[UUID]:
    """Return the same ids each time."""
    return [uuid5(TENANT, str(no)) for no in range(count)]


def fill(client: Client, ids: list[UUID], recipients: int, singles: int) -> None:
    """Write the events of all batches, through the intakes as ever."""
    for no, batch_id in enumerate(ids):
        day = LAST - timedelta(days=no % DAYS + 1)
        at = datetime(day.year, day.month, day.day, no % 12, tzinfo=UTC)
        for first in range(0, recipients, STEP):
            given = {"tenant": TENANT, "batch": batch_id, "at": at, "first": first}
            _fill_part(client, given, min(STEP, recipients - first))
    last = datetime(2026, 11, 22, tzinfo=UTC)
    client.command(_SINGLES, {"tenant": TENANT, "at": last, "messages": singles})


def _fill_part(client: Client, given: dict[str, Any], recipients: int) -> None:
    chunks = {"chunk": given["first"] // CHUNK, "chunks": recipients // CHUNK}
    for event in ("queued", "sent"):
        client.command(_CHUNKS, given | chunks | {"event": event})
    for event, share in REPORTED.items():
        part = {"event": event, "share": share, "recipients": recipients}
        client.command(_REPORTS, given | part)


def questions(
    client: Client, ids: list[UUID], recipients: int
) -> dict[str, Callable[[], object]]:
    """Return what people ask, each time of another batch."""
    # The same questions each time.
    dice = random.Random(7)  # noqa: S311 - nothing secret is drawn.

    def batch() -> tuple[UUID, UUID]:
        return TENANT, dice.choice(ids)

    def page(status: RecipientStatus | None) -> object:
        after = dice.randrange(recipients)
        return standing_page(client, batch(), status=status, after=after, limit=100)

    first = LAST - timedelta(days=DAYS)
    return {
        "batch counts": lambda: batch_counts(client, *batch()),
        "recipients": lambda: page(None),
        "recipients bounced": lambda: page(RecipientStatus.BOUNCED),
        "timeline": lambda: timeline(client, *batch(), dice.randrange(recipients)),
        "rates of 30 days": lambda: days(client, TENANT, first, LAST),
        "top failures": lambda: failures(client, TENANT, first, LAST, limit=10),
        "batches": lambda: batch_page(client, TENANT, limit=50),
        "as of": lambda: as_of(client, TENANT),
    }


def measured(ask: Callable[[], object], seconds: float) -> dict[str, float]:
    """Return the milliseconds that a question took, asked for so long."""
    ask()
    took: list[float] = []
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends or len(took) < LEAST_TIMES:
        began = time.perf_counter()
        ask()
        took.append((time.perf_counter() - began) * 1000)
    cuts = statistics.quantiles(took, n=100)
    return {
        "times": len(took),
        "p50_ms": round(cuts[49], 1),
        "p95_ms": round(cuts[94], 1),
        "p99_ms": round(cuts[98], 1),
    }


def main() -> None:
    """Fill a database of its own, ask, and tell."""
    options = _options().parse_args()
    recipients = int((options.events - options.singles) / options.batches / EVENTS_EACH)
    recipients = -(-recipients // CHUNK) * CHUNK
    with TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        stack.clickhouse.start()
        try:
            client = connect(stack.clickhouse.url, timeout_s=120)
            migrate(client)
            _tell(client, batch_ids(options.batches), recipients, options)
        finally:
            stack.stop()


def _tell(
    client: Client, ids: list[UUID], recipients: int, options: argparse.Namespace
) -> None:
    began = time.perf_counter()
    fill(client, ids, recipients, options.singles)
    [(events,)] = client.rows("SELECT count() FROM email_events")
    fill_s = time.perf_counter() - began
    print(f"{events:,} events in {fill_s:.0f} s")
    found = {}
    for name, ask in questions(client, ids, recipients).items():
        found[name] = measured(ask, options.seconds)
        print(f"{name:20} p50 {found[name]['p50_ms']:7} ms", end="")
        print(f"  p95 {found[name]['p95_ms']:7} ms  {found[name]['times']} times")
    worst = max(figures["p95_ms"] for figures in found.values())
    body = {
        "events": events,
        "batches": len(ids),
        "singles": options.singles,
        "fill_s": round(fill_s, 1),
        "reads": found,
        "worst_p95_ms": worst,
        "goal_p95_ms": GOAL_MS,
        "met": worst < GOAL_MS,
    }
    print(orjson.dumps(body).decode())


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.reads")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--singles", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=4.0)
    return parser


if __name__ == "__main__":
    main()
