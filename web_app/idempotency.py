"""`Idempotency-Key`: a POST that is sent again is done once and answered alike.

Works for every POST of JSON (draft-ietf-httpapi-idempotency-key-header). An upload's
part has a number for that, lists and files change nothing a second time, and a single
message is named by its key for ever. An answer that shows a secret is never stored, so
its request takes no key.

Fails closed: without Postgres nothing is done. A request that could not be done frees
its key.
"""

import hashlib
import logging
from io import BytesIO

from flask import Flask, Response, g, request

from models.errors import InvalidInputError, NeighbourUnavailableError
from models.queries.idempotency import Answered, Key, claim, free, remember
from web_app.auth import caller
from web_app.bodies import MAX_JSON_BYTES, body_pieces
from web_app.services import services

#: What a key may be no longer than.
LONGEST_KEY = 200
#: Where the same is done once by other means.
_OWN_WAY = (
    "messages.create",
    "recipients.upload",
    "suppressions.add",
    "attachments.create",
)
#: What is shown once must not lie in a table.
_SECRET = (
    "api_keys.create",
    "webhook_endpoints.create",
    "webhook_endpoints.rotate",
)

_log = logging.getLogger(__name__)


def register(app: Flask) -> None:
    """Make the application heed the header."""
    app.before_request(_before)
    app.after_request(_after)


def given_key() -> str | None:
    """Return the request's key, if it has one; `InvalidInputError` when too long."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 0 < len(key) <= LONGEST_KEY:
        raise InvalidInputError(
            f"The Idempotency-Key must have 1 to {LONGEST_KEY} characters.",
            field="Idempotency-Key",
        )
    return key


def _before() -> Response | None:
    if request.method != "POST" or request.endpoint in (None, *_OWN_WAY):
        return None
    given = given_key()
    if given is None:
        return None
    if request.endpoint in _SECRET:
        raise InvalidInputError(
            "This address takes no Idempotency-Key: its answer is not stored.",
            field="Idempotency-Key",
        )
    key = Key(caller(), given, _fingerprint())
    with services().database.transaction() as connection:
        answered = claim(connection, key)
    if answered is None:
        g.idempotency_key = key
        return None
    replayed = Response(answered.body, answered.status, content_type="application/json")
    replayed.headers["Idempotent-Replayed"] = "true"
    return replayed


def _after(response: Response) -> Response:
    key: Key | None = g.pop("idempotency_key", None)
    if key is None:
        return response
    try:
        with services().database.transaction() as connection:
            if response.status_code < 300:
                answered = Answered(response.status_code, response.get_data())
                remember(connection, key, answered)
            else:
                free(connection, key)
    except NeighbourUnavailableError as error:
        # It was done; the key is answered with 409 until it may be claimed again.
        _log.warning("An answer was not stored under its key: %s", error)
    return response


def _fingerprint() -> bytes:
    """Return a digest of what is asked; the view reads the same body after us."""
    raw = b"".join(body_pieces(MAX_JSON_BYTES))
    request.environ["wsgi.input"] = BytesIO(raw)
    # Werkzeug made its stream of the old input.
    request.__dict__.pop("stream", None)
    asked = f"{request.full_path}\0{request.content_type}\0".encode()
    return hashlib.sha256(asked + raw).digest()
