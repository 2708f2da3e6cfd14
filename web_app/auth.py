"""Who is calling: an API key names its tenant."""

from uuid import UUID

from flask import request
from werkzeug.exceptions import Unauthorized

from models.queries.tenants import key_digest, tenant_of_key
from web_app.services import services


def caller() -> UUID:
    """Return the tenant of the request's key.

    Fails closed: `Unauthorized` without a valid key, and without Postgres nobody is
    let in.
    """
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.startswith("bs_"):
        raise Unauthorized
    with services().database.statement() as connection:
        tenant_id = tenant_of_key(connection, key_digest(key.strip()))
    if tenant_id is None:
        raise Unauthorized
    return tenant_id
