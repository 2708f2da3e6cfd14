"""Telnyx' messages: one recipient a call, codes in errors, ids in the webhook's URL."""

from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from tests.fakes.server import FakeProvider, Reply, Seen, Took

_RATE = {"limit": "50", "remaining": "49", "reset": "1"}


class FakeTelnyx(FakeProvider):
    """It keeps no keys."""

    def answer(self, seen: Seen) -> Reply:
        """Take a message."""
        assert seen.path == "/v2/messages"
        message = seen.json
        if message["to"] in self.refused:
            return self.error(400, "40012", "Invalid destination number")
        ids = parse_qs(urlsplit(message.get("webhook_url", "")).query)
        self.took.append(
            Took(
                message["to"], *(ids.get(name, [None])[0] for name in ("batch", "seq"))
            )
        )
        return Reply.of({"data": self._data(message)}, **self._headers())

    def error(self, status: int, name: str, words: str) -> Reply:
        """Return an error."""
        errors = [{"code": name, "title": words, "detail": words}]
        return Reply.of({"errors": errors}, status=status, **self._headers())

    def _data(self, message: dict[str, Any]) -> dict[str, Any]:
        to = [{"phone_number": message["to"], "status": "queued"}]
        return {"id": str(uuid4()), "to": to, "errors": [], "parts": 1}

    def _headers(self) -> dict[str, str]:
        return {f"x_ratelimit_{name}": value for name, value in _RATE.items()}
