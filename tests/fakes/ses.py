"""SES v2: single and bulk mails and the account, in the shapes of its service model."""

from typing import Any
from uuid import uuid4

import orjson

from tests.fakes.server import FakeProvider, Reply, Seen, Took


class FakeSes(FakeProvider):
    """It keeps no keys.

    Attributes:
        entry: The state of every entry of the next bulk call, instead of success.
        account: What `GetAccount` answers.
        mails: The mails as they would be sent, rendered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.entry: str | None = None
        self.account: dict[str, Any] = {
            "SendQuota": {
                "Max24HourSend": 50000.0,
                "MaxSendRate": 14.0,
                "SentLast24Hours": 12.0,
            },
            "SendingEnabled": True,
            "ProductionAccessEnabled": True,
            "EnforcementStatus": "HEALTHY",
        }
        self.mails: list[dict[str, Any]] = []

    def answer(self, seen: Seen) -> Reply:
        """Take one mail or a bulk of them, or tell the account."""
        assert seen.headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
        if seen.path == "/v2/email/account":
            return Reply.of(self.account)
        if seen.path == "/v2/email/outbound-emails":
            return self._single(seen.json)
        assert seen.path == "/v2/email/outbound-bulk-emails"
        return self._bulk(seen.json)

    def error(self, status: int, name: str, words: str) -> Reply:
        """Return an error; its name goes in the header, as with AWS."""
        kind = {"x_amzn_ErrorType": f"{name}:http://internal.amazon.com/"}
        return Reply.of({"message": words}, status=status, **(kind if name else {}))

    def _single(self, call: dict[str, Any]) -> Reply:
        address = call["Destination"]["ToAddresses"][0]
        if address in self.refused:
            return self.error(400, "MessageRejected", "No such address.")
        simple = call["Content"]["Simple"]
        parts = {name.lower(): part["Data"] for name, part in simple["Body"].items()}
        parts["subject"] = simple["Subject"]["Data"]
        headers = simple.get("Headers", [])
        return Reply.of(self._take(call, address, call["EmailTags"], parts, headers))

    def _bulk(self, call: dict[str, Any]) -> Reply:
        assert len(call["BulkEmailEntries"]) <= 50
        state, self.entry = self.entry, None
        results = [self._entry(call, e, state) for e in call["BulkEmailEntries"]]
        return Reply.of({"BulkEmailEntryResults": results})

    def _entry(
        self, call: dict[str, Any], entry: dict[str, Any], state: str | None
    ) -> dict[str, str]:
        address = entry["Destination"]["ToAddresses"][0]
        if state is None and address in self.refused:
            state = "MESSAGE_REJECTED"
        if state is not None:
            return {"Status": state, "Error": "Told to."}
        template = call["DefaultContent"]["Template"]
        own = entry["ReplacementEmailContent"]["ReplacementTemplate"]
        values = {
            **orjson.loads(template["TemplateData"]),
            **orjson.loads(own["ReplacementTemplateData"]),
        }
        parts = {
            name.lower(): values[text.strip("{}")]
            for name, text in template["TemplateContent"].items()
        }
        headers = entry.get("ReplacementHeaders", [])
        tags = entry["ReplacementTags"]
        return {"Status": "SUCCESS", **self._take(call, address, tags, parts, headers)}

    def _take(
        self,
        call: dict[str, Any],
        address: str,
        tags: list[dict[str, str]],
        parts: dict[str, str],
        headers: list[dict[str, str]],
    ) -> dict[str, str]:
        ids = {tag["Name"]: tag["Value"] for tag in tags}
        self.took.append(Took(address, ids["batch"], ids["seq"]))
        named = {header["Name"]: header["Value"] for header in headers}
        frame = {"from": call["FromEmailAddress"], "to": address, "headers": named}
        reply_to = call.get("ReplyToAddresses", [None])[0]
        self.mails.append({**frame, "replyTo": reply_to, **parts})
        return {"MessageId": str(uuid4())}
