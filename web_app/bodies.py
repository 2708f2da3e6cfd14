"""What comes in with a request, checked, and what goes out as JSON."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from tempfile import SpooledTemporaryFile
from typing import Any
from uuid import UUID

import orjson
from flask import Response, g, request
from werkzeug.exceptions import RequestEntityTooLarge

from models.errors import InvalidInputError

#: The largest JSON body; more recipients than that come in parts.
MAX_JSON_BYTES = 4 * 1024 * 1024

#: A NUL as JSON writes it, which Postgres' text cannot hold: not a backslash that is
#: itself escaped.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_PIECE_BYTES = 256 * 1024
_IN_MEMORY_BYTES = 1024 * 1024


def answer(body: Any, status: int = 200) -> Response:
    """Return JSON; times are written as RFC 3339."""
    return Response(orjson.dumps(body), status, content_type="application/json")


def json_object() -> dict[str, Any]:
    """Return the request's body; `InvalidInputError` unless it is a JSON object."""
    raw = b"".join(body_pieces(MAX_JSON_BYTES))
    try:
        body = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError as error:
        raise InvalidInputError("The body is not JSON.") from error
    if not isinstance(body, dict):
        raise InvalidInputError("The body must be a JSON object.")
    if _NUL.search(raw):
        raise InvalidInputError("The body holds the character NUL; leave it out.")
    # For the audit log, which takes single fields from it.
    g.json_body = body
    return body


def body_pieces(max_bytes: int) -> Iterator[bytes]:
    """Yield the body as it arrives; 413 as soon as it is larger than `max_bytes`."""
    if (request.content_length or 0) > max_bytes:
        raise RequestEntityTooLarge
    # Werkzeug gives a body without a length only to who says that the server ends it.
    request.environ["wsgi.input_terminated"] = True
    read = 0
    while piece := request.stream.read(_PIECE_BYTES):
        read += len(piece)
        if read > max_bytes:
            raise RequestEntityTooLarge
        yield piece


@contextmanager
def whole_body(max_bytes: int) -> Iterator[Iterator[bytes]]:
    """Give the body's pieces after the last has arrived, on disk when it is large.

    So a slow caller holds no connection to Postgres, and nothing of a body that
    turns out to be too large or broken off is ever looked at.
    """
    with SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as spool:
        for piece in body_pieces(max_bytes):
            spool.write(piece)
        spool.seek(0)
        yield iter(lambda: spool.read(_PIECE_BYTES), b"")


def only(body: Mapping[str, Any], known: frozenset[str], *, within: str = "") -> None:
    """Raise `InvalidInputError` when the body has a field that nobody reads."""
    names = ", ".join(sorted(known))
    for name in body:
        if name not in known:
            raise InvalidInputError(
                f"There is no field {name!r} here; known are {names}.",
                field=f"{within}{name}",
            )


@contextmanager
def within(name: str) -> Iterator[None]:
    """Name the fields of refusals as parts of the field `name`."""
    try:
        yield
    except InvalidInputError as error:
        field = f"{name}.{error.field}" if error.field else name
        raise InvalidInputError(str(error), field=field) from error


def text_field(body: Mapping[str, Any], name: str, *, default: str = "") -> str:
    """Return a text of up to 200 characters; without a default it is required."""
    value = body.get(name, default)
    if not isinstance(value, str) or not value.strip() or len(value) > 200:
        raise InvalidInputError(
            f"{name!r} must be a text of 1 to 200 characters.", field=name
        )
    if not value.isprintable():
        raise InvalidInputError(f"{name!r} must be one printable line.", field=name)
    return value.strip()


def mapping_field(
    body: Mapping[str, Any], name: str, *, required: bool = False
) -> dict[str, Any]:
    """Return a JSON object; an absent one is empty, unless it is required."""
    value = body.get(name)
    if value is None and not required:
        return {}
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name!r} must be a JSON object.", field=name)
    return value


def time_field(body: Mapping[str, Any], name: str) -> datetime | None:
    """Return a time with its zone, such as `2026-01-31T09:00:00Z`; absent is none."""
    value = body.get(name)
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        time = None
    if time is None or time.tzinfo is None:
        raise InvalidInputError(
            f"{name!r} must be a time with its zone, such as 2026-01-31T09:00:00Z.",
            field=name,
        )
    return time


def number_argument(name: str, *, default: int | None, least: int, most: int) -> int:
    """Return a whole number from the query string; without a default it is required."""
    value = request.args.get(name)
    if value is None and default is not None:
        return default
    try:
        number = int(value or "")
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise InvalidInputError(
            f"The parameter {name!r} must be a number from {least} to {most}.",
            field=name,
        )
    return number


def id_of(value: Any, name: str) -> UUID:
    """Return an id that the request named as text."""
    try:
        return UUID(value)
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(f"{name!r} must be an id.", field=name) from error
