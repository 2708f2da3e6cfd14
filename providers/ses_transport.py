"""boto writes and signs the calls to SES; our own HTTP client makes them.

boto's own client has no deadline for a whole call, cannot tell whether a byte left,
and may be told by the environment to repeat calls or to use a proxy (ADR 0031).
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError

from models.errors import BatchSenderError
from providers.guard import Guard
from providers.http import HttpAnswer, HttpSession, NoAnswer, NotSent

#: What our client says itself, or what is of no use without boto's.
_OWN_HEADERS = frozenset({"host", "content-length", "connection", "expect"})


class _DoneError(BatchSenderError):
    """Leads out of boto with what became of the request."""

    def __init__(self, found: HttpAnswer | NotSent | NoAnswer) -> None:
        super().__init__("The request was made.")
        self.found = found


class Transport:
    """The way of boto's requests to SES, for many threads."""

    def __init__(self, guard: Guard) -> None:
        self._session = HttpSession(guard)
        self._local = threading.local()

    def attach(self, client: Any) -> None:
        """Take over the requests of a boto client."""
        client.meta.events.register("before-send.sesv2", self._send)

    def call(
        self,
        operation: Callable[..., Any],
        arguments: Mapping[str, Any],
        *,
        deadline_s: float,
    ) -> HttpAnswer | NotSent | NoAnswer:
        """Call an operation of an attached client once; what SES answers is unread."""
        self._local.ends_at = time.monotonic() + deadline_s
        try:
            operation(**arguments)
        except _DoneError as done:
            return done.found
        except BotoCoreError as error:
            kind = type(error).__name__
            return NotSent(f"The call to SES could not be written ({kind}).", True)
        return NotSent("The call to SES was not made.", True)

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _send(self, request: Any, **_: Any) -> None:
        body = request.body or b""
        headers = {
            name: _text(value)
            for name, value in request.headers.items()
            if name.lower() not in _OWN_HEADERS
        }
        found = self._session.send(
            request.method,
            request.url,
            body.encode() if isinstance(body, str) else body,
            headers,
            deadline_s=self._local.ends_at - time.monotonic(),
        )
        raise _DoneError(found)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
