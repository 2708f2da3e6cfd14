"""Resend as its description says: arrays, keys, permissive validation, headers."""

from typing import Any
from uuid import uuid4

from tests.fakes.server import FakeProvider, Reply, Seen, Took


class FakeResend(FakeProvider):
    """It keeps keys, with the body that came under each."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, tuple[bytes, Reply]] = {}
        self.rate = {"limit": "10", "remaining": "7", "reset": "1"}

    def answer(self, seen: Seen) -> Reply:
        """Take one mail or an array of them; a known key is answered as before."""
        key = seen.headers.get("idempotency-key")
        if key in self._kept:
            body, reply = self._kept[key]
            if body == seen.body:
                return reply
            return self.error(409, "invalid_idempotent_request", "Another body.")
        reply = self._fresh(seen)
        if key is not None:
            self._kept[key] = (seen.body, reply)
        return reply

    def error(self, status: int, name: str, words: str) -> Reply:
        """Return an error."""
        body = {"statusCode": status, "name": name, "message": words}
        return Reply.of(body, status=status, **self._headers())

    def _fresh(self, seen: Seen) -> Reply:
        if seen.path == "/emails":
            if seen.json["to"][0] in self.refused:
                return self.error(422, "validation_error", "No such address.")
            return Reply.of(self._take(seen.json), **self._headers())
        assert seen.headers["x-batch-validation"] == "permissive"
        assert len(seen.json) <= 100
        bad = [i for i, m in enumerate(seen.json) if m["to"][0] in self.refused]
        data = [self._take(m) for i, m in enumerate(seen.json) if i not in bad]
        errors = [{"index": i, "message": "No such address."} for i in bad]
        body = {"data": data, **({"errors": errors} if errors else {})}
        return Reply.of(body, **self._headers())

    def _take(self, mail: dict[str, Any]) -> dict[str, str]:
        assert {"from", "to", "subject"} <= mail.keys()
        tags = {tag["name"]: tag["value"] for tag in mail["tags"]}
        self.took.append(Took(mail["to"][0], tags["batch"], tags["seq"]))
        return {"id": str(uuid4())}

    def _headers(self) -> dict[str, str]:
        return {f"ratelimit_{name}": value for name, value in self.rate.items()}
