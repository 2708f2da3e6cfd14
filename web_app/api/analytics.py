"""What became of messages: all from the event log, with the time it is as of.

Who calls is one statement to Postgres, each time, so that a revoked key opens nothing
more; that and the list of what is not logged yet are all that Postgres is asked. The
tenant is part of every question to the event log: 404 for a batch that is another's,
or of which nothing is logged yet. 503 while the event log is away.
"""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, request

from analytics import recipient_reports, tenant_reports
from analytics.client import Client
from analytics.reports import timeline
from models.errors import InvalidInputError, NeighbourUnavailableError, NotFoundError
from models.queries.waiting import unlogged_batches
from models.status import RecipientStatus
from web_app.auth import caller
from web_app.bodies import answer, id_of, number_argument
from web_app.services import services

analytics = Blueprint("analytics", __name__, url_prefix="/api")

_PAGE = 50
_MOST_DAYS = 400
_USUAL_DAYS = 30


@analytics.get("/analytics/batches")
def batches() -> Response:
    """Show batches, newest first; the first page also those not logged yet."""
    tenant_id = caller()
    limit = number_argument("limit", default=_PAGE, least=1, most=500)
    before = _cursor(request.args.get("after"))
    as_of = tenant_reports.as_of(event_log(), tenant_id)
    found = tenant_reports.batch_page(
        event_log(), tenant_id, before=before, limit=limit + 1
    )
    waiting: list[dict[str, Any]] = []
    if before is None:
        with services().database.statement() as connection:
            waiting = unlogged_batches(connection, tenant_id, limit=limit)
    page = found[:limit]
    return answer(
        {
            "waiting": [_waiting(row) for row in waiting],
            "batches": [_logged(batch) for batch in page],
            "next": _cursor_of(page[-1]) if len(found) > limit else None,
            "asOf": as_of,
        }
    )


@analytics.get("/analytics/batches/<uuid:batch_id>")
def batch(batch_id: UUID) -> Response:
    """Show where a batch's recipients stand, and how many ever had which event."""
    tenant_id = caller()
    as_of = _as_of(tenant_id, batch_id)
    counts = recipient_reports.batch_counts(event_log(), tenant_id, batch_id)
    return answer(
        {
            "standing": counts.standing,
            "reached": counts.reached,
            "rates": tenant_reports.rates(counts.reached),
            "asOf": as_of,
        }
    )


@analytics.get("/batches/<uuid:batch_id>/recipients/<int:seq>/timeline")
def recipient(batch_id: UUID, seq: int) -> Response:
    """Show what happened to a recipient, in order."""
    tenant_id = caller()
    _checked_seq(seq)
    as_of = _as_of(tenant_id, batch_id)
    events = timeline(event_log(), tenant_id, batch_id, seq)
    return answer(
        {
            "seq": seq,
            "events": [
                {
                    "event": entry.event,
                    "occurredAt": entry.occurred_at,
                    "providerMessageId": entry.provider_message_id or None,
                    "error": entry.error or None,
                }
                for entry in events
            ],
            "asOf": as_of,
        }
    )


@analytics.get("/analytics/rates")
def rates() -> Response:
    """Show the tenant's counts by day, and the rates of all of them."""
    tenant_id = caller()
    first, last = _days()
    as_of = tenant_reports.as_of(event_log(), tenant_id)
    days = tenant_reports.days(event_log(), tenant_id, first, last)
    total: Counter[str] = Counter()
    for day in days:
        total.update(day.counts)
    return answer(
        {
            "first": first,
            "last": last,
            "days": [
                {
                    "day": day.day,
                    "counts": day.counts,
                    "rates": tenant_reports.rates(day.counts),
                }
                for day in days
            ],
            "total": dict(total),
            "rates": tenant_reports.rates(total),
            "asOf": as_of,
        }
    )


@analytics.get("/analytics/failures")
def failures() -> Response:
    """Show the reasons for failures and bounces, the most frequent first."""
    tenant_id = caller()
    first, last = _days()
    limit = number_argument("limit", default=10, least=1, most=100)
    as_of = tenant_reports.as_of(event_log(), tenant_id)
    found = tenant_reports.failures(event_log(), tenant_id, first, last, limit=limit)
    return answer(
        {
            "first": first,
            "last": last,
            "failures": [reason._asdict() for reason in found],
            "asOf": as_of,
        }
    )


def standing_page(
    tenant_id: UUID, batch_id: UUID, status: RecipientStatus | None
) -> Response:
    """Show recipients of a batch without their addresses, from the event log."""
    as_of = _as_of(tenant_id, batch_id)
    limit = number_argument("limit", default=500, least=1, most=1000)
    after = number_argument("after", default=-1, least=-1, most=2**31 - 1)
    page = recipient_reports.standing_page(
        event_log(), (tenant_id, batch_id), status=status, after=after, limit=limit
    )
    return answer(
        {
            "recipients": [
                {
                    "seq": row.seq,
                    "status": row.status,
                    "occurredAt": row.occurred_at,
                    "providerMessageId": row.provider_message_id or None,
                    "error": row.error or None,
                }
                for row in page.rows
            ],
            "next": page.following,
            "asOf": as_of,
        }
    )


def event_log() -> Client:
    """Return the application's ClickHouse."""
    found = services().neighbours.event_log
    if found is None:
        raise NeighbourUnavailableError("No event log is connected to this process.")
    return found


def _as_of(tenant_id: UUID, batch_id: UUID) -> datetime:
    """Return when a batch's newest event came in; asked first, so it is never late."""
    found = tenant_reports.as_of(event_log(), tenant_id, batch_id)
    if found is None:
        raise NotFoundError(f"Nothing is logged of a batch {batch_id} yet.")
    return found


def _waiting(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "status": row["status"],
        "createdAt": row["created_at"],
        "scheduledAt": row["scheduled_at"],
        "queuedAt": row["queued_at"],
        "recipients": row["recipients"],
    }


def _logged(batch: tenant_reports.LoggedBatch) -> dict[str, Any]:
    return {
        "id": batch.batch_id,
        "name": batch.name,
        "firstAt": batch.first_at,
        "lastAt": batch.last_at,
        "asOf": batch.as_of,
    }


def _cursor_of(batch: tenant_reports.LoggedBatch) -> str:
    return f"{batch.first_at.isoformat()}~{batch.batch_id}"


def _cursor(given: str | None) -> tuple[datetime, UUID] | None:
    if given is None:
        return None
    time, _, batch_id = given.partition("~")
    try:
        # A plus sign that a caller did not escape arrives as a space.
        first_at = datetime.fromisoformat(time.replace(" ", "+"))
        return first_at.astimezone(UTC), id_of(batch_id, "after")
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            "'after' must be the 'next' of the page before.", field="after"
        ) from error


def _days() -> tuple[date, date]:
    last = _day("last", datetime.now(UTC).date())
    first = _day("first", last - timedelta(days=_USUAL_DAYS - 1))
    if not timedelta() <= last - first < timedelta(days=_MOST_DAYS):
        raise InvalidInputError(
            f"'first' to 'last' must be 1 to {_MOST_DAYS} days.", field="first"
        )
    return first, last


def _day(name: str, default: date) -> date:
    given = request.args.get(name)
    if given is None:
        return default
    try:
        day = date.fromisoformat(given)
    except ValueError:
        day = date.min
    # What ClickHouse's type can hold.
    if not date(1970, 1, 1) <= day <= date(2149, 6, 6):
        raise InvalidInputError(
            f"{name!r} must be a day such as 2026-01-31.", field=name
        )
    return day


def _checked_seq(seq: int) -> None:
    if seq >= 2**32:
        raise InvalidInputError("There is no recipient of that number.", field="seq")
