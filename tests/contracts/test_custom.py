"""A tenant's own endpoint."""

import pytest

from models import bits
from models.custom_settings import CustomSettings
from providers import custom
from providers.provider import Call
from providers.signatures import standard_webhooks_key, standard_webhooks_signature
from tests.contracts.provider import FILES, LOCAL, ProviderContract
from tests.fakes.endpoint import FakeEndpoint

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class TestCustom(ProviderContract):
    """The contract, for an endpoint without keys."""

    name = "custom"
    settings = {"url": "http://127.0.0.1:9/in", "headers": {"X-Team": "a"}}
    credentials = {"secret": SECRET}
    errors = custom.ERRORS
    fake = FakeEndpoint
    content = {"text": "Hello {{name}}"}

    def build(self, url, *, guard=LOCAL):
        return custom.CustomWebhook(
            CustomSettings.of({**self.settings, "url": f"{url}/in"}),
            standard_webhooks_key(SECRET),
            guard=guard,
        )

    def unreadable(self, body, size):
        # An endpoint need not answer more than 2xx; what it does say must be right.
        return 0 if body in (b"17", b'{"a":[]}', b"") else bits.everyone(size)

    def test_a_call_is_signed_and_bears_the_configs_headers(self, provider, server):
        """Id and key are the call's, so that a repetition is known as one."""
        provider.send(self.call(2, key="b1:0:1"))

        seen = server.requests[0]
        assert seen.headers["x-team"] == "a"
        assert seen.headers["idempotency-key"] == seen.headers["webhook-id"] == "b1:0:1"
        assert seen.headers["webhook-signature"] == standard_webhooks_signature(
            standard_webhooks_key(SECRET),
            message_id="b1:0:1",
            timestamp_s=int(seen.headers["webhook-timestamp"]),
            body=seen.body,
        )

    def test_files_are_in_each_message(self, provider, server):
        """As names, types and base64; all else is there as it was rendered."""
        [message] = self.call(1).messages

        provider.send(Call(None, "b1", [{**message, "cc": ["c@x.io"]}], 5.0, FILES))

        sent = server.requests[0].json
        [got] = sent if isinstance(sent, list) else [sent]
        assert got["cc"] == ["c@x.io"]
        assert got["attachments"] == [
            {
                "filename": "a.pdf",
                "contentType": "application/pdf",
                "content": "JVBERg==",
            },
            {
                "filename": "b.png",
                "contentType": "image/png",
                "contentId": "logo",
                "content": "UE5H",
            },
        ]


class TestCustomWithKeys(TestCustom):
    """The contract, for an endpoint that keeps keys."""

    settings = {**TestCustom.settings, "idempotencyKeys": True, "maxBatch": 20}

    @pytest.fixture
    def server(self):
        found = self.fake()
        found.keeps_keys = True
        yield found
        found.stop()


class TestCustomOneByOne(TestCustom):
    """The contract, for an endpoint that takes single messages."""

    settings = {**TestCustom.settings, "maxBatch": 1}

    def test_a_message_is_no_array(self, provider, server):
        """The body is the message."""
        provider.send(self.call(1))

        assert server.requests[0].json["to"] == "user0@example.com"

    def unreadable(self, body, size):
        return 0 if body in (b"17", b'{"a":[]}', b"") else 1
