"""A request as WSGI has it: its headers, and a body that is never too large."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from models.errors import BatchSenderError

#: The largest report; providers keep to far less.
MAX_BODY_BYTES = 256 * 1024


class Refused(BatchSenderError):  # noqa: N818 - read as a fact
    """The request is none that a report comes with.

    Attributes:
        status: What is answered.
    """

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(_WORDS[status])
        self.status = status


_WORDS = {
    HTTPStatus.BAD_REQUEST: "The report ended too early.",
    HTTPStatus.NOT_FOUND: "There is nothing here that takes this request.",
    HTTPStatus.METHOD_NOT_ALLOWED: "Reports are sent by POST.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The report is too large.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "Send the report without compression.",
}


class Headers:
    """A request's headers, by names in any case."""

    __slots__ = ("_environ",)

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ

    def get(self, name: str, /) -> str | None:
        """Return a header's value, or none; not for `Content-Type` and `-Length`."""
        return self._environ.get(f"HTTP_{name.upper().replace('-', '_')}")


def body_of(environ: Mapping[str, Any]) -> bytes:
    """Return the body's bytes, as they came.

    What is compressed is refused and not unpacked: no provider compresses, and a few
    bytes could become more than fits into memory.

    Raises:
        Refused: It is compressed, too large, or ended too early.
    """
    if environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() != "identity":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    told = _length(environ)
    most = MAX_BODY_BYTES + 1 if told is None else told
    if most > MAX_BODY_BYTES and told is not None:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    raw = _read(environ["wsgi.input"], most)
    if len(raw) > MAX_BODY_BYTES:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    if told is not None and len(raw) < told:
        raise Refused(HTTPStatus.BAD_REQUEST)
    return raw


def _length(environ: Mapping[str, Any]) -> int | None:
    """Return how long the body is said to be; none where it comes in chunks."""
    text = environ.get("CONTENT_LENGTH", "")
    if not text:
        # Without a length, only some servers tell where the body ends.
        return None if environ.get("wsgi.input_terminated") else 0
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise Refused(HTTPStatus.BAD_REQUEST)
    return int(text)


def _read(stream: Any, most: int) -> bytes:
    found = stream.read(most) if most else b""
    if len(found) in (most, 0):
        return bytes(found)
    parts, size = [found], len(found)
    while size < most and (part := stream.read(most - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)
