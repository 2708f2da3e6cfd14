"""API keys: shown once, stored hashed, and never able to do more than their maker."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response
from werkzeug.exceptions import Forbidden

from models.errors import InvalidInputError
from models.queries.api_keys import (
    TENANTS_OWN,
    checked_scopes,
    create_api_key,
    keys_of,
    revoke_api_key,
)
from web_app.auth import caller, caller_with
from web_app.bodies import answer, json_object, only, text_field, time_field
from web_app.services import services

api_keys = Blueprint("api_keys", __name__, url_prefix="/api/api-keys")

_FIELDS = frozenset({"name", "scopes", "expiresAt"})


@api_keys.post("")
def create() -> Response:
    """Make a key: 201 with `key`, which is never shown again.

    403 when it should reach further than the key that asks for it.
    """
    mine = caller_with("send")
    body = json_object()
    only(body, _FIELDS)
    name, expires_at = text_field(body, "name"), time_field(body, "expiresAt")
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise InvalidInputError("'expiresAt' must be to come.", field="expiresAt")
    scopes = checked_scopes(_scopes(body))
    if not mine.scopes.issuperset(scopes):
        raise Forbidden
    with services().database.transaction() as connection:
        key = create_api_key(
            connection, mine.tenant_id, name, scopes=scopes, expires_at=expires_at
        )
    made = {"key": key, "prefix": key.split("_")[1], "name": name}
    return answer(made | {"scopes": scopes, "expiresAt": expires_at}, 201)


@api_keys.get("")
def index() -> Response:
    """Show the tenant's keys, the newest first, also those that were revoked."""
    tenant_id = caller()
    with services().database.statement() as connection:
        rows = keys_of(connection, tenant_id)
    return answer({"apiKeys": [_shown(row) for row in rows]})


@api_keys.delete("/<prefix>")
def revoke(prefix: str) -> Response:
    """Make a key useless at once: 204; 404 when none of that prefix is in use."""
    tenant_id = caller()
    with services().database.transaction() as connection:
        revoke_api_key(connection, tenant_id, prefix)
    return Response(status=204)


def _scopes(body: Mapping[str, Any]) -> list[str]:
    given = body.get("scopes", [*TENANTS_OWN])
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise InvalidInputError("'scopes' must be a list of texts.", field="scopes")
    return given


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "prefix": row["prefix"],
        "name": row["name"],
        "scopes": row["scopes"],
        "createdAt": row["created_at"],
        "expiresAt": row["expires_at"],
        "revokedAt": row["revoked_at"],
    }
