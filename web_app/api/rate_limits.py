"""The operator's own limits: of the system, a provider, a tenant or a config.

A change holds in every worker within seconds and needs no restart.
"""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from models.errors import InvalidInputError, NotFoundError
from models.queries.limits import (
    Effective,
    limit_of,
    override_rows,
    remove_override,
    set_override,
)
from web_app.auth import caller_with
from web_app.bodies import answer, json_object, only
from web_app.services import services

rate_limits = Blueprint("rate_limits", __name__, url_prefix="/api/admin/rate-limits")

_FIELDS = frozenset({"perSecond", "burst", "reason"})


@rate_limits.before_request
def _operators_only() -> None:
    caller_with("admin")


@rate_limits.get("")
def index() -> Response:
    """Show all overrides by scope."""
    with services().database.statement() as connection:
        rows = override_rows(connection)
    return answer({"overrides": [_override(row) for row in rows]})


@rate_limits.get("/<level>", defaults={"name": ""})
@rate_limits.get("/<level>/<name>")
def show(level: str, name: str) -> Response:
    """Show a level's limit and where it comes from; null is no limit.

    What a provider told of its own limit is not in it.
    """
    with services().database.statement() as connection:
        found = limit_of(
            connection, level, name, system_per_s=services().system_rate_per_s
        )
    return answer(_shown(level, name, found))


@rate_limits.put("/<level>", defaults={"name": ""})
@rate_limits.put("/<level>/<name>")
def override(level: str, name: str) -> Response:
    """Replace a level's limit: `perSecond`, and if wished `burst` and `reason`."""
    body = json_object()
    only(body, _FIELDS)
    per_s, burst = _number(body, "perSecond"), _number(body, "burst", default=None)
    reason = body.get("reason", "")
    if not isinstance(reason, str) or len(reason) > 200 or per_s is None:
        raise InvalidInputError(
            "'perSecond' is a number, and 'reason' a text of up to 200 characters.",
            field="perSecond" if per_s is None else "reason",
        )
    system_per_s = services().system_rate_per_s
    with services().database.transaction() as connection:
        # Whatever does not exist has no level either: 404, and nothing is stored.
        limit_of(connection, level, name, system_per_s=system_per_s)
        set_override(
            connection, _scope(level, name), per_s=per_s, burst=burst, reason=reason
        )
        found = limit_of(connection, level, name, system_per_s=system_per_s)
    return answer(_shown(level, name, found))


@rate_limits.delete("/<level>", defaults={"name": ""})
@rate_limits.delete("/<level>/<name>")
def restore(level: str, name: str) -> Response:
    """Let a level have its default again: 204; 404 when it was not overridden."""
    with services().database.transaction() as connection:
        if not remove_override(connection, _scope(level, name)):
            raise NotFoundError(f"The limit of {_scope(level, name)} is its default.")
    return Response(status=204)


def _scope(level: str, name: str) -> str:
    return f"{level}:{name}" if name else level


def _number(
    body: Mapping[str, Any], name: str, *, default: float | None = None
) -> float | None:
    value = body.get(name, default)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(f"{name!r} must be a number.", field=name)
    return float(value)


def _override(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "scope": row["scope"],
        "perSecond": row["per_s"],
        "burst": row["burst"],
        "reason": row["reason"],
        "changedAt": row["changed_at"],
    }


def _shown(level: str, name: str, found: Effective) -> dict[str, Any]:
    return {
        "level": level,
        "name": name or None,
        "perSecond": found.per_s,
        "burst": found.burst,
        "source": found.source,
    }
