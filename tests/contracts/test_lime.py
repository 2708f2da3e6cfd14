"""Lime."""

import pytest

from models.provider_settings import LimeSettings
from providers import lime
from tests.contracts.provider import LOCAL, ProviderContract, assert_decided
from tests.fakes.lime import FakeLime
from tests.fakes.server import Reply

#: How Lime words the errors that the table names by their meaning.
WORDS = {
    "opted out": "This mobile number is not opted in to any of your opt-in lists",
    "no credits": "No credits in the account or account disabled",
    "credentials": "User not exists or invalid api id",
    "number": "Mobile destination is invalid",
}


class TestLime(ProviderContract):
    """The contract, and what only Lime does."""

    name = "lime"
    settings = {"maxSegments": 3}
    credentials = {"user": "someone@pizza.example", "apiId": "5ecretApiId5ecret"}
    errors = lime.ERRORS
    fake = FakeLime
    content = {"text": "Hello <{{name}}> & all"}
    gives_ids = False
    carries_ids = False

    def address(self, seq):
        return f"+1212555{seq:04}"

    def build(self, url, *, guard=LOCAL):
        settings = LimeSettings.of(self.settings)
        return lime.Lime(
            settings, *self.credentials.values(), guard=guard, base_url=url
        )

    def say(self, server, key):
        if key in WORDS:
            server.says(server.error(400, "", WORDS[key]))
        else:
            super().say(server, key)

    def test_credentials_are_in_the_body_and_the_number_has_no_plus(
        self, provider, server
    ):
        """The address of the call is the same for everybody."""
        provider.send(self.call(1))

        seen = server.requests[0]
        assert seen.path == "/sendsmsapi?format=xml&json=true"
        assert b"<Mobile>12125550000</Mobile>" in seen.body
        assert b"<Message>Hello &lt;Name 0&gt; &amp; all</Message>" in seen.body

    @pytest.mark.parametrize("key", ["ErrorMessgae", "ErrorMessage"])
    def test_an_error_in_an_answer_of_200_is_one(self, provider, server, key):
        """In either spelling."""
        body = {"Status": "Error", "ErrorId": "", key: WORDS["opted out"]}
        server.says(Reply.of(body))

        answer = provider.send(self.call(1))

        assert_decided(answer, lime.ERRORS["opted out"], 1)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"to": "+4915112345678"}, "+12125550100"),
            ({"text": ""}, "no text"),
            ({"text": "a\x07b"}, "control character"),
            ({"text": "a" * 460}, "4 parts"),
        ],
    )
    def test_what_does_not_fit_fails_before_a_call(
        self, provider, server, fields, words
    ):
        """It costs nothing, and says why."""
        call = self.call(1)
        message = {**call.messages[0], **fields}

        answer = provider.send(type(call)(None, "b1", [message], 5.0))

        assert words in answer.failed[0]
        assert server.requests == []
