"""Webhook endpoints: where a tenant hears of its events (docs/outgoing-webhooks.md)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, request

from models import credentials
from models.custom_settings import check_url
from models.errors import InvalidInputError
from models.outgoing import (
    DEFAULT_BATCH_SIZE,
    EVENTS,
    MAX_BATCH_SIZE,
    Secrets,
    new_secret,
)
from models.queries import endpoints
from models.queries.endpoints import NewEndpoint
from web_app.auth import caller
from web_app.bodies import (
    answer,
    id_of,
    json_object,
    number_argument,
    only,
    text_field,
    time_field,
)
from web_app.services import services

webhook_endpoints = Blueprint(
    "webhook_endpoints", __name__, url_prefix="/api/webhook-endpoints"
)

_FIELDS = frozenset({"url", "events", "description", "batchSize"})
_STATES = ("pending", "delivered", "failed")
_BY_TENANT = "Its owner disabled it."
_PAGE = 50
#: How long two secrets sign after a change, by default and at most, in seconds.
_OVERLAP_S = 86_400
_MOST_OVERLAP_S = 7 * 86_400
_MAX_URL_CHARACTERS = 2000


@webhook_endpoints.post("")
def create() -> Response:
    """Store an endpoint: 201 with its secret, which is never shown again."""
    tenant_id = caller()
    body = json_object()
    only(body, _FIELDS)
    wanted, secret = _wanted(body), new_secret()
    with services().database.transaction() as connection:
        row = endpoints.add_endpoint(
            connection, tenant_id, wanted, _sealed(Secrets(secret))
        )
    return answer({**_shown(row), "secret": secret}, 201)


@webhook_endpoints.get("")
def index() -> Response:
    """Show the tenant's endpoints, the oldest first."""
    tenant_id = caller()
    with services().database.statement() as connection:
        rows = endpoints.endpoints_of(connection, tenant_id)
    return answer({"webhookEndpoints": [_shown(row) for row in rows]})


@webhook_endpoints.get("/<uuid:endpoint_id>")
def show(endpoint_id: UUID) -> Response:
    """Show one endpoint."""
    tenant_id = caller()
    with services().database.statement() as connection:
        row = endpoints.endpoint_by_id(connection, tenant_id, endpoint_id)
    return answer(_shown(row))


@webhook_endpoints.patch("/<uuid:endpoint_id>")
def change(endpoint_id: UUID) -> Response:
    """Change the fields that are given; `enabled` ends or begins its deliveries."""
    tenant_id = caller()
    body = json_object()
    only(body, _FIELDS | {"enabled"})
    enabled = body.pop("enabled", None)
    if enabled is not None and not isinstance(enabled, bool):
        raise InvalidInputError("'enabled' must be true or false.", field="enabled")
    with services().database.transaction() as connection:
        row = endpoints.locked_endpoint(connection, tenant_id, endpoint_id)
        endpoints.change_endpoint(
            connection, endpoint_id, _wanted({**_given(row), **body})
        )
        if enabled:
            endpoints.enable(connection, endpoint_id)
        elif enabled is False:
            endpoints.disable(connection, endpoint_id, _BY_TENANT)
        row = endpoints.locked_endpoint(connection, tenant_id, endpoint_id)
    return answer(_shown(row))


@webhook_endpoints.delete("/<uuid:endpoint_id>")
def delete(endpoint_id: UUID) -> Response:
    """Delete an endpoint and what is kept of its deliveries: 204."""
    tenant_id = caller()
    with services().database.transaction() as connection:
        endpoints.delete_endpoint(connection, tenant_id, endpoint_id)
    return Response(status=204)


@webhook_endpoints.post("/<uuid:endpoint_id>/rotate-secret")
def rotate(endpoint_id: UUID) -> Response:
    """Give an endpoint a new secret, shown once; the old one signs on for a while."""
    tenant_id = caller()
    body = json_object()
    only(body, frozenset({"overlapSeconds"}))
    overlap_s = _number(
        body, "overlapSeconds", default=_OVERLAP_S, least=0, most=_MOST_OVERLAP_S
    )
    secret, now = new_secret(), datetime.now(UTC)
    with services().database.transaction() as connection:
        row = endpoints.locked_endpoint(connection, tenant_id, endpoint_id)
        before = Secrets.of(
            credentials.unseal(bytes(row["secret"]), services().credentials_key)
        )
        after = before.rotated(secret, now, timedelta(seconds=overlap_s))
        endpoints.change_secret(connection, endpoint_id, _sealed(after))
    return answer({**_shown(row), "secret": secret})


@webhook_endpoints.post("/<uuid:endpoint_id>/test")
def test(endpoint_id: UUID) -> Response:
    """Deliver an event `endpoint.test`: 202 with its delivery, to be looked at."""
    tenant_id = caller()
    with services().database.transaction() as connection:
        endpoints.endpoint_by_id(connection, tenant_id, endpoint_id)
        row = endpoints.add_test(connection, endpoint_id, at=datetime.now(UTC))
    return answer(_delivery(row), 202)


@webhook_endpoints.get("/<uuid:endpoint_id>/deliveries")
def deliveries(endpoint_id: UUID) -> Response:
    """Show what became of an endpoint's deliveries, the newest first, page by page."""
    tenant_id = caller()
    limit = number_argument("limit", default=_PAGE, least=1, most=500)
    before = request.args.get("before")
    state = request.args.get("state")
    if state is not None and state not in _STATES:
        raise InvalidInputError(
            f"'state' must be one of {', '.join(_STATES)}.", field="state"
        )
    with services().database.statement() as connection:
        endpoints.endpoint_by_id(connection, tenant_id, endpoint_id)
        rows = endpoints.deliveries_page(
            connection,
            endpoint_id,
            before=id_of(before, "before") if before else None,
            state=state,
            limit=limit + 1,
        )
    page = rows[:limit]
    following = page[-1]["id"] if len(rows) > limit else None
    return answer({"deliveries": [_delivery(row) for row in page], "next": following})


@webhook_endpoints.post("/<uuid:endpoint_id>/deliveries/<uuid:delivery_id>/replay")
def replay_one(endpoint_id: UUID, delivery_id: UUID) -> Response:
    """Deliver once more, by the same id: 202."""
    tenant_id = caller()
    with services().database.transaction() as connection:
        endpoints.endpoint_by_id(connection, tenant_id, endpoint_id)
        endpoints.replay_one(connection, endpoint_id, delivery_id)
    return answer({"replayed": 1}, 202)


@webhook_endpoints.post("/<uuid:endpoint_id>/replay")
def replay(endpoint_id: UUID) -> Response:
    """Deliver once more what failed since a time, or with `all` everything: 202."""
    tenant_id = caller()
    body = json_object()
    only(body, frozenset({"since", "all"}))
    since = time_field(body, "since")
    if since is None:
        raise InvalidInputError("'since' is missing.", field="since")
    if not isinstance(body.get("all", False), bool):
        raise InvalidInputError("'all' must be true or false.", field="all")
    states = ("delivered", "failed") if body.get("all") else ("failed",)
    with services().database.transaction() as connection:
        endpoints.endpoint_by_id(connection, tenant_id, endpoint_id)
        replayed = endpoints.replay_since(
            connection, endpoint_id, since=since, states=states
        )
    return answer({"replayed": replayed}, 202)


def _wanted(body: Mapping[str, Any]) -> NewEndpoint:
    url = body.get("url")
    check_url(url)
    if len(str(url)) > _MAX_URL_CHARACTERS:
        raise InvalidInputError(
            f"'url' has at most {_MAX_URL_CHARACTERS} characters.", field="url"
        )
    return NewEndpoint(
        url=str(url),
        events=_events(body.get("events")),
        description=text_field(body, "description") if body.get("description") else "",
        batch_size=_number(
            body, "batchSize", default=DEFAULT_BATCH_SIZE, least=1, most=MAX_BATCH_SIZE
        ),
    )


def _events(given: Any) -> list[str]:
    if not isinstance(given, list) or not given:
        raise InvalidInputError(
            "'events' must be a list with at least one event.", field="events"
        )
    for name in given:
        if name not in EVENTS:
            raise InvalidInputError(
                f"There is no event {name!r}; choose from {', '.join(EVENTS)}.",
                field="events",
            )
    return sorted(set(given))


def _number(
    body: Mapping[str, Any], name: str, *, default: int, least: int, most: int
) -> int:
    value = body.get(name, default)
    if type(value) is not int or not least <= value <= most:
        raise InvalidInputError(
            f"{name!r} must be a whole number from {least} to {most}.", field=name
        )
    return value


def _sealed(secrets: Secrets) -> bytes:
    return credentials.seal(secrets.stored, services().credentials_key)


def _given(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an endpoint's fields as its tenant gave them."""
    return {
        "url": row["url"],
        "events": row["events"],
        "description": row["description"],
        "batchSize": row["batch_size"],
    }


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        **_given(row),
        "state": row["state"],
        "disabledReason": row["disabled_reason"],
        "disabledAt": row["disabled_at"],
        "failingSince": row["failing_since"],
        "createdAt": row["created_at"],
    }


def _delivery(row: Mapping[str, Any]) -> dict[str, Any]:
    is_waiting = row["state"] == "pending"
    return {
        "id": row["id"],
        "createdAt": row["created_at"],
        "state": row["state"],
        "events": row["size"],
        "types": sorted({group["event"] for group in row["events"]}),
        "attempts": row["attempts"],
        "nextAttemptAt": row["next_attempt_at"] if is_waiting else None,
        "finishedAt": row["finished_at"],
        "lastStatus": row["last_status"],
        "lastError": row["last_error"],
        "response": row["response"],
    }
