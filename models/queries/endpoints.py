"""Tenants' webhook endpoints, and what they look at of their deliveries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, TextClause, text

from models.errors import ConflictError, NotFoundError
from models.outgoing import TEST_EVENT

#: A tenant has no more than so many.
MOST = 20
#: Why deliveries end that wait when their endpoint is disabled.
_ENDED = "The endpoint was disabled."
_SHOWN = """id, url, events, description, batch_size, state, disabled_reason,
        disabled_at, failing_since, created_at"""
# Two at once of one tenant come one after the other.
_LOCK_TENANT = text("select from tenants where id = :tenant_id for no key update")
_COUNT = text("select count(*) from webhook_endpoints where tenant_id = :tenant_id")
_ADD = text(
    f"""
    insert into webhook_endpoints
        (tenant_id, url, events, description, batch_size, secret)
    values (:tenant_id, :url, :events, :description, :batch_size, :secret)
    returning {_SHOWN}
    """
)
_ALL = text(
    f"""
    select {_SHOWN} from webhook_endpoints where tenant_id = :tenant_id
    order by created_at, id
    """
)
_ONE = text(
    f"""
    select {_SHOWN}, secret from webhook_endpoints
    where id = :endpoint_id and tenant_id = :tenant_id
    """
)
_LOCKED = text(f"{_ONE.text} for no key update")
_CHANGE = text(
    """
    update webhook_endpoints
    set url = :url, events = :events, description = :description,
        batch_size = :batch_size
    where id = :id
    """
)
_CHANGE_SECRET = text("update webhook_endpoints set secret = :secret where id = :id")
_ENABLE = text(
    """
    update webhook_endpoints
    set state = 'enabled', disabled_reason = null, disabled_at = null,
        failing_since = null
    where id = :id and state = 'disabled'
    """
)
# Told to the tenant's other endpoints, in the statement that disables this one.
_DISABLE = text(
    """
    with disabled as (
        update webhook_endpoints
        set state = 'disabled', disabled_reason = :reason,
            disabled_at = clock_timestamp()
        where id = :id and state = 'enabled'
        returning id, tenant_id, url
    ), ended as (
        update webhook_deliveries w
        set state = 'failed', last_error = coalesce(last_error, :ended),
            finished_at = clock_timestamp()
        from disabled where w.endpoint_id = disabled.id and w.state = 'pending'
    ), told as (
        insert into outgoing_events (tenant_id, event, details)
        select tenant_id, 'endpoint.disabled', jsonb_build_array(
            jsonb_build_object('endpoint', id, 'url', url, 'reason', :reason)
        )
        from disabled where exists (
            select from webhook_endpoints e
            where e.tenant_id = disabled.tenant_id and e.state = 'enabled'
                and e.id <> disabled.id and 'endpoint.disabled' = any(e.events)
        )
    )
    select id, tenant_id from disabled
    """
)
_DELETE = text(
    "delete from webhook_endpoints where id = :endpoint_id and tenant_id = :tenant_id"
)
_TEST = text(
    """
    insert into webhook_deliveries (endpoint_id, size, events)
    values (:id, 1, cast(:events as jsonb))
    returning id, created_at, size, events, state, attempts, next_attempt_at,
        finished_at, last_status, last_error, response
    """
)
_DELIVERIES = text(
    """
    select id, created_at, size, events, state, attempts, next_attempt_at,
        finished_at, last_status, last_error, response
    from webhook_deliveries
    where endpoint_id = :id and (cast(:before as uuid) is null or id < :before)
        and (cast(:state as text) is null or state = :state)
    order by id desc limit :limit
    """
)
_AGAIN = """
    update webhook_deliveries
    set state = 'pending', attempts = 0, epoch = epoch + 1, published_at = null,
        finished_at = null, next_attempt_at = clock_timestamp()
    where endpoint_id = :id and {which}
    """
_REPLAY_ONE = text(_AGAIN.format(which="id = :delivery_id"))
_REPLAY_SINCE = text(
    _AGAIN.format(
        which="created_at >= :since and state = any(:states)",
    )
)
_SEALED = text(
    """
    select id, secret from webhook_endpoints
    where cast(:after as uuid) is null or id > :after order by id limit :limit
    """
)
_RESEAL = text(
    """
    update webhook_endpoints set secret = :sealed
    where id = :endpoint_id and secret = :before
    """
)


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """What a tenant says of an endpoint; `events` are `models.outgoing.EVENTS`."""

    url: str
    events: Sequence[str]
    description: str
    batch_size: int


def add_endpoint(
    connection: Connection, tenant_id: UUID, wanted: NewEndpoint, secret: bytes
) -> dict[str, Any]:
    """Return the new endpoint; `ConflictError` when the tenant has too many."""
    connection.execute(_LOCK_TENANT, {"tenant_id": tenant_id})
    if connection.execute(_COUNT, {"tenant_id": tenant_id}).scalar_one() >= MOST:
        raise ConflictError(f"A tenant has at most {MOST} endpoints; delete one.")
    given = {"tenant_id": tenant_id, "secret": secret, **_fields(wanted)}
    return dict(connection.execute(_ADD, given).mappings().one())


def endpoints_of(connection: Connection, tenant_id: UUID) -> list[dict[str, Any]]:
    """Return the tenant's endpoints without their secrets, the oldest first."""
    rows = connection.execute(_ALL, {"tenant_id": tenant_id})
    return [dict(row) for row in rows.mappings()]


def endpoint_by_id(
    connection: Connection, tenant_id: UUID, endpoint_id: UUID
) -> dict[str, Any]:
    """Return an endpoint with its sealed secret.

    Raises `NotFoundError` for another tenant's endpoint.
    """
    return _found(connection, _ONE, tenant_id, endpoint_id)


def locked_endpoint(
    connection: Connection, tenant_id: UUID, endpoint_id: UUID
) -> dict[str, Any]:
    """Return as `endpoint_by_id`; nobody changes it before the transaction's end."""
    return _found(connection, _LOCKED, tenant_id, endpoint_id)


def _found(
    connection: Connection, query: TextClause, tenant_id: UUID, endpoint_id: UUID
) -> dict[str, Any]:
    given = {"tenant_id": tenant_id, "endpoint_id": endpoint_id}
    row = connection.execute(query, given).mappings().first()
    if row is None:
        raise NotFoundError(f"There is no webhook endpoint {endpoint_id}.")
    return dict(row)


def change_endpoint(
    connection: Connection, endpoint_id: UUID, wanted: NewEndpoint
) -> None:
    """Change what the tenant says of an endpoint; deliveries under way go to it."""
    connection.execute(_CHANGE, {"id": endpoint_id, **_fields(wanted)})


def change_secret(connection: Connection, endpoint_id: UUID, secret: bytes) -> None:
    """Sign with these secrets from the next attempt on."""
    connection.execute(_CHANGE_SECRET, {"id": endpoint_id, "secret": secret})


def enable(connection: Connection, endpoint_id: UUID) -> None:
    """Let an endpoint hear of what happens from now on; it begins without failures."""
    connection.execute(_ENABLE, {"id": endpoint_id})


def disable(connection: Connection, endpoint_id: UUID | str, reason: str) -> bool:
    """End an endpoint's deliveries until it is enabled; tell whether it was enabled.

    Its waiting deliveries have failed, and can be replayed. The tenant's other
    endpoints are told.
    """
    given = {"id": endpoint_id, "reason": reason, "ended": _ENDED}
    return connection.execute(_DISABLE, given).first() is not None


def delete_endpoint(connection: Connection, tenant_id: UUID, endpoint_id: UUID) -> None:
    """Delete an endpoint and its deliveries; `NotFoundError` when it is not there."""
    given = {"tenant_id": tenant_id, "endpoint_id": endpoint_id}
    if not connection.execute(_DELETE, given).rowcount:
        raise NotFoundError(f"There is no webhook endpoint {endpoint_id}.")


def add_test(
    connection: Connection, endpoint_id: UUID, *, at: datetime
) -> dict[str, Any]:
    """Return a new delivery of one test event."""
    group = {
        "event": TEST_EVENT,
        "batch": None,
        "at": at,
        "seqs": [],
        "details": [{"id": f"{endpoint_id}:{at.isoformat()}"}],
    }
    given = {"id": endpoint_id, "events": orjson.dumps([group]).decode()}
    return dict(connection.execute(_TEST, given).mappings().one())


def deliveries_page(
    connection: Connection,
    endpoint_id: UUID,
    *,
    before: UUID | None,
    state: str | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return deliveries, the newest first, those older than `before`."""
    given = {"id": endpoint_id, "before": before, "state": state, "limit": limit}
    rows = connection.execute(_DELIVERIES, given)
    return [dict(row) for row in rows.mappings()]


def replay_one(connection: Connection, endpoint_id: UUID, delivery_id: UUID) -> None:
    """Deliver once more, by the same id; `NotFoundError` when it is not there."""
    given = {"id": endpoint_id, "delivery_id": delivery_id}
    if not connection.execute(_REPLAY_ONE, given).rowcount:
        raise NotFoundError(f"There is no delivery {delivery_id} of this endpoint.")


def replay_since(
    connection: Connection, endpoint_id: UUID, *, since: datetime, states: Sequence[str]
) -> int:
    """Deliver once more what was made since then and is in these states; how many."""
    given = {"id": endpoint_id, "since": since, "states": list(states)}
    return connection.execute(_REPLAY_SINCE, given).rowcount


def secrets_page(
    connection: Connection, *, after: UUID | None, limit: int = 500
) -> list[tuple[UUID, bytes]]:
    """Return endpoints by id with their sealed secrets, those behind `after`."""
    found = connection.execute(_SEALED, {"after": after, "limit": limit})
    return [(endpoint_id, bytes(sealed)) for endpoint_id, sealed in found]


def reseal_secrets(
    connection: Connection, endpoint_id: UUID, *, before: bytes, sealed: bytes
) -> bool:
    """Keep the same secrets under another key; tell whether that was done."""
    given = {"endpoint_id": endpoint_id, "before": before, "sealed": sealed}
    return connection.execute(_RESEAL, given).rowcount > 0


def _fields(wanted: NewEndpoint) -> Mapping[str, Any]:
    return {
        "url": wanted.url,
        "events": list(wanted.events),
        "description": wanted.description,
        "batch_size": wanted.batch_size,
    }
