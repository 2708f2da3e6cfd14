"""Resend."""

from dataclasses import replace

import orjson
import pytest

from models.outcome import ReportedRate
from models.provider_settings import ResendSettings
from providers import resend
from providers.provider import Call
from tests.contracts.provider import FILES, LOCAL, ProviderContract
from tests.fakes.resend import FakeResend


class TestResend(ProviderContract):
    """The contract, and what only Resend does."""

    name = "resend"
    settings = {"from": "Us <us@example.com>"}
    credentials = {"apiKey": "re_5ecret_5ecret"}
    errors = resend.ERRORS
    fake = FakeResend
    content = {
        "subject": "For {{name}}",
        "text": "Hello {{name}}",
        "replyTo": "help@example.com",
        "headers": {"X-A": "{{name}}"},
    }

    def build(self, url, *, guard=LOCAL):
        return resend.Resend(
            ResendSettings.of(self.settings),
            self.credentials["apiKey"],
            guard=guard,
            base_url=url,
        )

    def test_a_mail_has_all_that_the_message_has(self, provider, server):
        """Under the names of Resend; a sender of its own outranks the config's."""
        call = self.call(1)
        provider.send(call)
        provider.send(
            type(call)("k2", "b1", [{**call.messages[0], "from": "a@b.co"}], 5.0)
        )

        plain, own = (seen.json for seen in server.requests)
        assert plain == {
            "from": "Us <us@example.com>",
            "to": ["user0@example.com"],
            "reply_to": "help@example.com",
            "subject": "For Name 0",
            "text": "Hello Name 0",
            "headers": {"X-A": "Name 0"},
            "tags": [{"name": "batch", "value": "b1"}, {"name": "seq", "value": "0"}],
        }
        assert own["from"] == "a@b.co"

    def test_a_mail_carries_copies_tags_and_files(self, provider, server):
        """Under the names of Resend; our own tags stay."""
        [message] = self.call(1).messages
        carried = {"cc": ["c@x.io"], "bcc": ["b@x.io"], "tags": {"plan": "pro"}}

        provider.send(Call("k1", "b1", [{**message, **carried}], 5.0, FILES))

        sent = server.requests[0].json
        assert server.requests[0].path == "/emails"
        assert (sent["cc"], sent["bcc"]) == (["c@x.io"], ["b@x.io"])
        assert [tag["name"] for tag in sent["tags"]] == ["batch", "seq", "plan"]
        assert sent["attachments"] == [
            {
                "filename": "a.pdf",
                "content_type": "application/pdf",
                "content": "JVBERg==",
            },
            {
                "filename": "b.png",
                "content_type": "image/png",
                "content_id": "logo",
                "content": "UE5H",
            },
        ]

    def test_one_mail_is_no_array_and_both_bear_the_key(self, provider, server):
        """The same members take the same way each time, as the key demands."""
        provider.send(self.call(1, key="k1"))
        provider.send(self.call(2, key="k2"))

        assert [seen.path for seen in server.requests] == ["/emails", "/emails/batch"]
        keys = [seen.headers["idempotency-key"] for seen in server.requests]
        assert keys == ["k1", "k2"]

    def test_ids_skip_those_who_were_refused(self, provider, server):
        """Resend lists the others' in order."""
        server.refused = {self.address(0), self.address(2)}

        answer = provider.send(self.call(4))

        assert [bool(one) for one in answer.provider_ids] == [False, True, False, True]
        assert sorted(answer.failed) == [0, 2]
        assert "No such address." in answer.failed[0]

    def test_the_rate_is_that_of_the_last_answer(self, provider, server):
        """Errors tell it too."""
        server.rate = {"limit": "2", "remaining": "0", "reset": "3"}
        server.says(server.error(429, "rate_limit_exceeded", "Slower."))

        answers = [provider.send(self.call(1)) for _ in range(2)]

        assert [one.rate for one in answers] == [ReportedRate(2, 0, 3)] * 2

    def test_a_key_under_another_body_is_unknown(self, provider, server):
        """Nobody can learn any more what became of the first."""
        provider.send(self.call(2))

        answer = provider.send(self.call(2, first=5))

        assert answer.undecidable == 0b11

    @pytest.mark.parametrize(
        "body",
        [
            {"data": 17},
            {"data": [{"id": "a"}]},
            {"data": [{"id": "a"}, {}]},
            {"data": [{"id": "a"}, {"id": "b"}, {"id": "c"}]},
            {"data": [{"id": "a"}], "errors": [{"index": 2}]},
            {"data": [{"id": "a"}], "errors": [{"index": "1"}]},
            {"data": [{"id": "a"}], "errors": [17]},
            {"data": [{"id": "a"}], "errors": "none"},
        ],
    )
    def test_a_list_that_does_not_fit_the_call_proves_nothing(
        self, provider, server, body
    ):
        """Nobody can tell whose id is whose; the key finds out."""
        server.answers(orjson.dumps(body))

        answer = provider.send(self.call(2))

        assert answer.unanswered == 0b11

    def test_without_a_key_none_is_sent(self, provider, server):
        """An empty one would be refused."""
        provider.send(replace(self.call(1), key=None))

        assert "idempotency-key" not in server.requests[0].headers
