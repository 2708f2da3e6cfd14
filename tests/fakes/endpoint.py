"""A tenant's own endpoint."""

from tests.fakes.server import FakeProvider, Reply, Seen, Took


class FakeEndpoint(FakeProvider):
    """It keeps keys if it is told to.

    Attributes:
        keeps_keys: A known key is answered as before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keeps_keys = False
        self._kept: dict[str, Reply] = {}

    def answer(self, seen: Seen) -> Reply:
        """Take an array of messages, or one."""
        key = seen.headers.get("idempotency-key")
        if self.keeps_keys and key in self._kept:
            return self._kept[key]
        given = seen.json
        items = [self._item(m) for m in (given if isinstance(given, list) else [given])]
        reply = Reply.of(items if isinstance(given, list) else items[0])
        if key is not None:
            self._kept[key] = reply
        return reply

    def error(self, status: int, name: str, words: str) -> Reply:
        """Return an error in words."""
        return Reply(status, f"{name} {words}".encode(), {"Content-Type": "text/plain"})

    def _item(self, message: dict[str, object]) -> dict[str, str]:
        address = str(message["to"])
        if address in self.refused:
            return {"status": "rejected", "error": "No such address."}
        self.took.append(Took(address, str(message["batch"]), str(message["seq"])))
        return {"id": f"id-{message['seq']}"}
