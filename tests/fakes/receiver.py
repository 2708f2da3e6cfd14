"""A tenant's server that hears of events: it verifies every call as the standard says.

Written from the specification alone, and not with our own functions.
"""

import base64
import hashlib
import hmac
import time
from typing import Any

from tests.fakes.server import FakeProvider, Reply, Seen


class FakeReceiver(FakeProvider):
    """It takes what is signed and refuses the rest.

    Attributes:
        secrets: Those that it knows; one of them must have signed.
        heard: The bodies of the calls that it took, each as often as it came.
    """

    def __init__(self) -> None:
        super().__init__()
        self.secrets: list[str] = []
        self.heard: list[dict[str, Any]] = []

    @property
    def ids(self) -> list[str]:
        """Return the `webhook-id` of each call, refused ones too."""
        return [seen.headers["webhook-id"] for seen in self.requests]

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return all events that were taken, in their order."""
        return [event for body in self.heard for event in body["data"]]

    def answer(self, seen: Seen) -> Reply:
        """Take a delivery; nobody must send one that is not signed well."""
        assert self._is_genuine(seen), "The signature is wrong."
        self.heard.append(seen.json)
        return Reply(204, b"")

    def error(self, status: int, name: str, words: str) -> Reply:
        """Return an error in words."""
        return Reply(status, f"{name} {words}".encode(), {"Content-Type": "text/plain"})

    def _is_genuine(self, seen: Seen) -> bool:
        message_id = seen.headers["webhook-id"]
        sent_at = seen.headers["webhook-timestamp"]
        assert abs(time.time() - int(sent_at)) < 300
        signed = f"{message_id}.{sent_at}.".encode() + seen.body
        given = seen.headers["webhook-signature"].split(" ")
        return any(
            f"v1,{_signature(secret, signed)}" in given for secret in self.secrets
        )


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
