"""Deliveries of outgoing webhooks: made of the outbox, published, tried, kept a while.

A delivery's row decides: a message names its attempt, and one that is not the row's
next does nothing. So copies are harmless, and whatever is lost is published again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, text

from models.jobs import DeliverWebhook
from models.outgoing import packed, size_of

#: Deliveries of one endpoint that are published and due; the others wait in Postgres.
PUBLISHED_AT_ONCE = 200
#: After so long without an attempt a published delivery may have been lost.
OVERDUE_S = 60.0

_TAKE = text(
    """
    delete from outgoing_events where id = any(array(
        select id from outgoing_events order by id limit :rows for update skip locked
    ))
    returning id, tenant_id, event, batch_id, at, seqs, details
    """
)
_ENDPOINTS = text(
    """
    select id, tenant_id, events, batch_size from webhook_endpoints
    where tenant_id = any(cast(:tenants as uuid[])) and state = 'enabled'
    """
)
_ADD = text(
    """
    insert into webhook_deliveries (endpoint_id, size, events)
    select * from unnest(
        cast(:endpoints as uuid[]), cast(:sizes as int[]), cast(:events as jsonb[])
    )
    """
)
# Those of an endpoint in their order, and not all of a million at once. While it fails
# one at a time finds out whether it is back: threads that wait for it are others' too.
_UNPUBLISHED = text(
    """
    select d.* from webhook_endpoints e cross join lateral (
        select id, endpoint_id, attempts, epoch,
            extract(epoch from next_attempt_at - clock_timestamp())::float as wait_s
        from webhook_deliveries
        where endpoint_id = e.id and state = 'pending' and published_at is null
        order by id
        limit greatest(0, case when e.failing_since is null then :at_once else 1 end - (
            select count(*) from webhook_deliveries o
            where o.endpoint_id = e.id and o.state = 'pending'
                and o.published_at is not null
                and o.next_attempt_at <= clock_timestamp()
        ))
    ) d
    """
)
_MARK_PUBLISHED = text(
    """
    update webhook_deliveries d set published_at = clock_timestamp()
    from unnest(
        cast(:ids as uuid[]), cast(:attempts as int[]), cast(:epochs as int[])
    ) as p(id, attempts, epoch)
    where d.id = p.id and d.attempts = p.attempts and d.epoch = p.epoch
        and d.published_at is null
    """
)
_DUE = text(
    """
    select d.created_at, d.events, e.tenant_id, e.url, e.secret
    from webhook_deliveries d join webhook_endpoints e on e.id = d.endpoint_id
    where d.id = :id and d.attempts = :attempts and d.epoch = :epoch
        and d.state = 'pending' and e.state = 'enabled'
    """
)
_ADDRESSES = text(
    """
    select r.batch_id, r.seq, r.address
    from unnest(cast(:batches as uuid[]), cast(:seqs as int[])) as p(batch_id, seq)
    join recipients r on r.batch_id = p.batch_id and r.seq = p.seq
    """
)
_DELIVERED = text(
    """
    with done as (
        update webhook_deliveries
        set state = 'delivered', attempts = attempts + 1, last_error = null,
            finished_at = clock_timestamp(), last_status = :status,
            response = :response
        where id = :id and attempts = :attempts and epoch = :epoch
        returning endpoint_id
    )
    update webhook_endpoints e set failing_since = null
    from done where e.id = done.endpoint_id and e.failing_since is not null
    """
)
_FAILED = text(
    """
    with failed as (
        update webhook_deliveries
        set attempts = attempts + 1, last_status = :status, last_error = :error,
            response = :response, published_at = null,
            state = case when cast(:wait_s as float) is null then 'failed'
                else 'pending' end,
            finished_at = case when cast(:wait_s as float) is null
                then clock_timestamp() end,
            next_attempt_at = clock_timestamp()
                + make_interval(secs => coalesce(cast(:wait_s as float), 0))
        where id = :id and attempts = :attempts and epoch = :epoch
            and state = 'pending'
        returning endpoint_id
    )
    update webhook_endpoints e
    set failing_since = coalesce(e.failing_since, clock_timestamp())
    from failed where e.id = failed.endpoint_id
    returning extract(epoch from clock_timestamp() - e.failing_since)::float
    """
)
_OVERDUE = text(
    """
    update webhook_deliveries set epoch = epoch + 1, published_at = null
    where state = 'pending' and endpoint_id <> all(cast(:busy as uuid[]))
        and greatest(published_at, next_attempt_at)
            < clock_timestamp() - make_interval(secs => :overdue_s)
    """
)
_PURGE = text(
    """
    delete from webhook_deliveries where id in (
        select id from webhook_deliveries
        where finished_at < clock_timestamp() - make_interval(secs => :keep_s)
        limit 10000
    )
    """
)


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery whose attempt is due.

    Attributes:
        tenant_id: Whose endpoint it is.
        url: Where it goes.
        secret: As `models.outgoing.Secrets`, sealed.
        created_at: When the delivery was made.
        groups: Its events.
        addresses: By batch and seq, of everybody in them who is still there.
    """

    tenant_id: str
    url: str
    secret: bytes
    created_at: Any
    groups: Sequence[Mapping[str, Any]]
    addresses: Mapping[tuple[str, int], str]


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt ended.

    Attributes:
        status: What was answered; none where nothing was.
        error: Why it failed, for the tenant; none where it did not.
        response: The first characters of the answer.
        wait_s: Seconds until the next one; none: it was the last.
    """

    status: int | None = None
    error: str | None = None
    response: str | None = None
    wait_s: float | None = None


def pack(connection: Connection, *, rows: int) -> int:
    """Turn up to so many rows of the outbox into deliveries; returns how many.

    In one transaction: rows leave the outbox when their deliveries are there. Two at
    once share the work. What nobody wants any more is dropped.
    """
    found = connection.execute(_TAKE, {"rows": rows}).mappings().all()
    if not found:
        return 0
    by_tenant: dict[Any, list[Mapping[str, Any]]] = {}
    for row in sorted(found, key=lambda one: one["id"]):
        by_tenant.setdefault(row["tenant_id"], []).append(dict(row))
    endpoints = connection.execute(_ENDPOINTS, {"tenants": list(by_tenant)})
    made = [
        (endpoint.id, groups)
        for endpoint in endpoints
        for groups in packed(
            by_tenant[endpoint.tenant_id],
            events=endpoint.events,
            batch_size=endpoint.batch_size,
        )
    ]
    add_deliveries(connection, made)
    return len(found)


def add_deliveries(
    connection: Connection, made: Sequence[tuple[Any, Sequence[Mapping[str, Any]]]]
) -> None:
    """Store deliveries, by endpoint and groups; they are published within a second."""
    given = {
        "endpoints": [endpoint for endpoint, _ in made],
        "sizes": [size_of(groups) for _, groups in made],
        "events": [orjson.dumps(groups).decode() for _, groups in made],
    }
    connection.execute(_ADD, given)


def unpublished(connection: Connection) -> list[tuple[DeliverWebhook, float]]:
    """Return what is to be published, with the seconds until each is due."""
    rows = connection.execute(_UNPUBLISHED, {"at_once": PUBLISHED_AT_ONCE})
    return [
        (
            DeliverWebhook(str(row.id), str(row.endpoint_id), row.attempts, row.epoch),
            row.wait_s,
        )
        for row in rows
    ]


def mark_published(connection: Connection, jobs: Sequence[DeliverWebhook]) -> None:
    """Note that these are durably in the queue; who was tried meanwhile is left."""
    given = {
        "ids": [job.delivery_id for job in jobs],
        "attempts": [job.attempts for job in jobs],
        "epochs": [job.epoch for job in jobs],
    }
    connection.execute(_MARK_PUBLISHED, given)


def due(connection: Connection, job: DeliverWebhook) -> Due | None:
    """Return the delivery, where this attempt is its next and its endpoint enabled."""
    row = connection.execute(_DUE, _names(job)).first()
    if row is None:
        return None
    whom = [
        (group["batch"], seq)
        for group in row.events
        if group["batch"]
        for seq in group["seqs"]
    ]
    given = {"batches": [batch for batch, _ in whom], "seqs": [seq for _, seq in whom]}
    addresses = {
        (str(batch_id), seq): address
        for batch_id, seq, address in connection.execute(_ADDRESSES, given)
    }
    return Due(
        str(row.tenant_id),
        row.url,
        bytes(row.secret),
        row.created_at,
        row.events,
        addresses,
    )


def mark_delivered(
    connection: Connection, job: DeliverWebhook, attempt: Attempt
) -> None:
    """Note that it was taken; its endpoint is not failing any more."""
    given = {"status": attempt.status, "response": attempt.response}
    connection.execute(_DELIVERED, _names(job) | given)


def mark_failed(
    connection: Connection, job: DeliverWebhook, attempt: Attempt
) -> float | None:
    """Note a failure; the next attempt is published when it is due.

    Returns for how many seconds the endpoint has done nothing but fail; none where the
    attempt was not the delivery's next any more, and nothing was noted.
    """
    given = {
        "status": attempt.status,
        "error": attempt.error,
        "response": attempt.response,
        "wait_s": attempt.wait_s,
    }
    found = connection.execute(_FAILED, _names(job) | given).scalar()
    return None if found is None else float(found)


def republish_overdue(connection: Connection, stored: Mapping[str, int]) -> int:
    """Have those published again whose messages are gone; returns how many.

    An endpoint that the queue holds messages of is slow, and not short of any.
    """
    busy = [endpoint for endpoint, messages in stored.items() if messages]
    given = {"busy": busy, "overdue_s": OVERDUE_S}
    return connection.execute(_OVERDUE, given).rowcount


def purge(connection: Connection, *, keep_s: float) -> int:
    """Delete deliveries that ended so long ago; returns how many."""
    return connection.execute(_PURGE, {"keep_s": keep_s}).rowcount


def _names(job: DeliverWebhook) -> dict[str, Any]:
    return {"id": job.delivery_id, "attempts": job.attempts, "epoch": job.epoch}
