"""Lime's one-way messages: XML in, JSON with a misspelt key out."""

from xml.etree import ElementTree as ET

from tests.fakes.server import FakeProvider, Reply, Seen, Took


class FakeLime(FakeProvider):
    """It gives no ids and keeps nothing."""

    def answer(self, seen: Seen) -> Reply:
        """Take a message."""
        assert seen.path == "/sendsmsapi?format=xml&json=true"
        data = {part.tag: part.text for part in ET.fromstring(seen.body)}  # noqa: S314 - it is ours
        assert data.keys() == {"User", "ApiId", "Message", "Mobile"}
        if f"+{data['Mobile']}" in self.refused:
            return self.error(400, "107", "mobile number is invalid")
        self.took.append(Took(f"+{data['Mobile']}"))
        return Reply.of({"Status": "OK"})

    def error(self, status: int, name: str, words: str) -> Reply:
        """Return an error."""
        body = {"Status": "Error", "ErrorId": name, "ErrorMessgae": words}
        return Reply.of(body, status=status)
