"""boto writes and signs the calls to SES; our own HTTP client makes them.

boto's own client has no deadline for a whole call, cannot tell whether a byte left,
and may be told by the environment to repeat calls or to use a proxy (ADR 0031).
"""

import functools
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from models.errors import BatchSenderError
from providers.guard import Guard
from providers.http import HttpAnswer, HttpSession, NoAnswer, NotSent

#: What our client says itself, or what is of no use without boto's.
_OWN_HEADERS = frozenset({"host", "content-length", "connection", "expect"})

_MAKING = threading.Lock()


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

    def client(self, **options: Any) -> Any:
        """Return a boto client of SES v2 whose requests take this way."""
        # Its making is not safe for threads, and each session reads the models anew.
        with _MAKING:
            client = _session().client("sesv2", config=_config(), **options)
        client.meta.events.register("before-send.sesv2", self._send)
        return client

    def call(
        self,
        operation: Callable[..., Any],
        arguments: Mapping[str, Any],
        *,
        deadline_s: float,
    ) -> HttpAnswer | NotSent | NoAnswer:
        """Call an operation of such a client once; what SES answers is unread."""
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


@functools.cache
def _session() -> boto3.session.Session:
    return boto3.session.Session()


def _config() -> Config:
    return Config(
        # Nobody below us may repeat a call.
        retries={"total_max_attempts": 1, "mode": "standard"},
        ignore_configured_endpoint_urls=True,
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
