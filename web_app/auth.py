"""Who is calling: an API key names its tenant and what it may do."""

from uuid import UUID

from flask import g, request
from werkzeug.exceptions import Forbidden, Unauthorized

from analytics.audit import ActorKind
from analytics.audit_log import Actor
from models.queries.api_keys import ApiKey, Scope, valid_key
from web_app.services import services

_LOOKS = ("GET", "HEAD", "OPTIONS")


def caller() -> UUID:
    """Return the tenant of the request's key, which must reach as far as its method.

    Fails closed: `Unauthorized` without a valid key, `Forbidden` where it lacks the
    scope `read` or `send`, and without Postgres nobody is let in.
    """
    return caller_with("read" if request.method in _LOOKS else "send").tenant_id


def caller_with(scope: Scope) -> ApiKey:
    """Return the request's key; `Forbidden` unless it has the scope."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.startswith("bs_"):
        raise Unauthorized
    with services().database.statement() as connection:
        found = valid_key(connection, key.strip())
    if found is None:
        raise Unauthorized
    if scope not in found.scopes:
        raise Forbidden
    # Who is told to have done what this request does.
    g.actor = Actor(ActorKind.API_KEY, str(found.id), found.tenant_id)
    return found
