"""Telnyx."""

from dataclasses import replace

import pytest

from models.provider_settings import TelnyxSettings
from providers import telnyx
from providers.verdicts import Then
from tests.contracts.provider import LOCAL, ProviderContract, assert_decided
from tests.fakes.server import Reply
from tests.fakes.telnyx import FakeTelnyx

WEBHOOK = "https://hooks.example.com/webhooks/telnyx"


class TestTelnyx(ProviderContract):
    """The contract, and what only Telnyx does."""

    name = "telnyx"
    settings = {"from": "+12125550199", "webhookUrl": WEBHOOK}
    credentials = {"apiKey": "KEY5ecret5ecret5ecret"}
    errors = telnyx.ERRORS
    fake = FakeTelnyx
    content = {"text": "Hello {{name}}"}

    def address(self, seq):
        return f"+1212555{seq:04}"

    def build(self, url, *, guard=LOCAL, **settings):
        return telnyx.Telnyx(
            TelnyxSettings.of({**self.settings, **settings}),
            self.credentials["apiKey"],
            guard=guard,
            base_url=url,
        )

    def test_a_message_names_sender_text_and_where_to_report(self, provider, server):
        """Our ids are in the address of the reports."""
        provider.send(self.call(1, first=7))

        assert server.requests[0].json == {
            "to": "+12125550007",
            "text": "Hello Name 7",
            "from": "+12125550199",
            "encoding": "auto",
            "webhook_url": f"{WEBHOOK}?batch=b1&seq=7",
        }

    @pytest.mark.parametrize(
        ("settings", "text", "words"),
        [
            ({"encoding": "gsm7"}, "你好", "GSM"),
            ({"maxSegments": 1}, "a" * 161, "2 parts"),
            ({"encoding": "ucs2", "maxSegments": 1}, "a" * 71, "2 parts"),
            ({}, "", "no text"),
        ],
    )
    def test_what_does_not_fit_fails_before_a_call(self, server, settings, text, words):
        """It costs nothing, and says why."""
        provider = self.build(server.url, **settings)
        call = self.call(1)
        message = {**call.messages[0], "text": text}

        answer = provider.send(type(call)(None, "b1", [message], 5.0))

        assert words in answer.failed[0]
        assert server.requests == []
        provider.close()

    def test_a_message_can_fail_in_an_answer_of_200(self, provider, server):
        """The state of its receiver says so, and the code decides."""
        data = {
            "id": "m1",
            "to": [{"status": "sending_failed"}],
            "errors": [{"code": "40300"}],
        }
        server.says(Reply.of({"data": data}))

        answer = provider.send(self.call(1))

        assert_decided(answer, telnyx.ERRORS["40300"], 1)

    def test_a_failing_server_is_not_believed_whatever_code_it_gives(
        self, provider, server
    ):
        """5xx is no proof."""
        server.says(server.error(500, "40300", "STOP"))

        answer = provider.send(self.call(1))

        assert answer.unanswered == 1
        assert not answer.suppress

    def test_opt_outs_suppress_the_address(self):
        """STOP, and a number that takes no texts."""
        rows = [telnyx.ERRORS[code].then for code in ("40300", "40001")]

        assert rows == [Then.SUPPRESS] * 2

    def test_a_profile_chooses_the_sender_itself(self, server):
        """And reports where it is told to, as long as a config does not say."""
        settings = TelnyxSettings.of({"messagingProfileId": "4001-a"})
        provider = telnyx.Telnyx(settings, "KEY", guard=LOCAL, base_url=server.url)

        provider.send(replace(self.call(1), key=None))

        seen = server.requests[0]
        assert seen.json.keys() == {"to", "text", "messaging_profile_id", "encoding"}
        assert "idempotency-key" not in seen.headers
        assert not provider.capabilities.reports_events
        provider.close()
