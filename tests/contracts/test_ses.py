"""Amazon SES."""

import re

import orjson
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from models import bits
from models.provider_settings import SesSettings
from providers import ses
from providers.provider import Account, Call
from tests.contracts.provider import FILES, LOCAL, ProviderContract
from tests.fakes.ses import FakeSes


class TestSes(ProviderContract):
    """The contract, and what only SES does."""

    name = "ses"
    settings = {
        "region": "eu-central-1",
        "from": "us@example.com",
        "configurationSet": "events",
    }
    credentials = {
        "accessKeyId": "AKIA0123456789",
        "secretAccessKey": "5ecret/5ecret+5ecret/5ecret",
    }
    # It is in the head of every signed request.
    public = frozenset({"accessKeyId"})
    errors = ses.ERRORS
    fake = FakeSes
    content = {
        "subject": "For {{name}}",
        "text": "Hello {{name}}",
        "html": "<p>Hello all</p>",
        "headers": {"X-A": "{{name}}"},
    }

    def build(self, url, *, guard=LOCAL, **settings):
        return ses.Ses(
            SesSettings.of({**self.settings, **settings}),
            *self.credentials.values(),
            guard=guard,
            base_url=url,
        )

    def say(self, server, key):
        if key.isupper():
            server.entry = key
        else:
            super().say(server, key)

    @pytest.mark.parametrize("size", [1, 3])
    def test_a_mail_arrives_as_it_was_rendered(self, provider, server, size):
        """One by one and in bulk alike, whatever the messages have in common."""
        provider.send(self.call(size))

        assert server.mails == [
            {
                "from": "us@example.com",
                "to": f"user{seq}@example.com",
                "replyTo": None,
                "headers": {"X-A": f"Name {seq}"},
                "subject": f"For Name {seq}",
                "text": f"Hello Name {seq}",
                "html": "<p>Hello all</p>",
            }
            for seq in range(size)
        ]
        assert server.requests[0].json["ConfigurationSetName"] == "events"

    def test_what_all_have_alike_is_sent_once(self, provider, server):
        """Fifty copies of a page would be too large for a call."""
        provider.send(self.call(50))

        assert server.requests[0].body.count(b"Hello all") == 1

    def test_other_senders_and_large_mails_go_in_requests_of_their_own(
        self, provider, server
    ):
        """Still one call: each member is called once and has its own result."""
        plain = self.call(5).messages
        parties = [{}, {"replyTo": "a@b.co"}, {}, {"text": "x" * 300_000}, {}]
        call = Call(
            None, "b1", [{**m, **p} for m, p in zip(plain, parties, strict=True)], 20.0
        )
        server.refused = {self.address(4)}

        answer = provider.send(call)

        assert (answer.accepted, list(answer.failed)) == (0b01111, [4])
        assert [seen.path.rpartition("-")[2] for seen in server.requests] == [
            "emails"
        ] * 3
        assert sorted(one.seq for one in server.took) == ["0", "1", "2", "3"]
        assert {m["replyTo"] for m in server.mails} == {None, "a@b.co"}

    def test_a_mail_carries_copies_tags_and_files(self, provider, server):
        """Under the names of SES; an image in the text is *inline*."""
        [message] = self.call(1).messages
        carried = {"cc": ["c@x.io"], "bcc": ["b@x.io"], "tags": {"plan": "pro"}}

        provider.send(Call(None, "b1", [{**message, **carried}], 5.0, FILES))

        sent = server.requests[0].json
        assert sent["Destination"] == {
            "ToAddresses": ["user0@example.com"],
            "CcAddresses": ["c@x.io"],
            "BccAddresses": ["b@x.io"],
        }
        assert {"Name": "plan", "Value": "pro"} in sent["EmailTags"]
        files = sent["Content"]["Simple"]["Attachments"]
        assert [(one["FileName"], one["RawContent"]) for one in files] == [
            ("a.pdf", "JVBERg=="),
            ("b.png", "UE5H"),
        ]
        assert [one["ContentDisposition"] for one in files] == ["ATTACHMENT", "INLINE"]
        assert files[1]["ContentId"] == "logo"

    def test_mails_with_copies_are_no_part_of_a_bulk_call(self, provider, server):
        """A copy is a recipient too, and a call takes fifty."""
        messages = [{**m, "cc": ["c@x.io"]} for m in self.call(3).messages]

        answer = provider.send(Call(None, "b1", messages, 20.0))

        assert answer.accepted == 0b111
        assert len(server.requests) == 3

    def test_calls_stay_below_the_size_that_ses_takes(self, provider, server):
        """A megabyte; the rest goes in the next request."""
        text = "x" * 100_000
        messages = [{**m, "text": f"{text}{m['seq']}"} for m in self.call(20).messages]

        answer = provider.send(Call(None, "b1", messages, 20.0))

        assert answer.accepted == (1 << 20) - 1
        assert len(server.requests) == 3
        assert all(len(seen.body) < 1_000_000 for seen in server.requests)

    def test_a_mail_that_is_too_large_for_a_bulk_call_goes_alone(
        self, provider, server
    ):
        """A single one may have forty megabytes."""
        messages = [{**m, "text": "x" * 300_000} for m in self.call(2).messages]
        messages = [{**m, "text": f"{m['text']}{m['seq']}"} for m in messages]

        answer = provider.send(Call(None, "b1", messages, 20.0))

        assert answer.accepted == 0b11
        assert len(server.requests) == 2

    def test_a_refusal_of_all_ends_the_call(self, provider, server):
        """Throttled once, the other requests are not made, and refused for now."""
        plain = self.call(4).messages
        messages = [{**m, "replyTo": f"r{m['seq']}@b.co"} for m in plain]
        server.says(server.error(200, "", ""))
        server.says(server.error(429, "TooManyRequestsException", "Slower."))

        answer = provider.send(Call(None, "b1", messages, 20.0))

        assert len(server.requests) == 2
        assert (answer.accepted, answer.unanswered, answer.failed) == (0, 0b0001, {})

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"to": "jürgen@example.com"}, "ASCII"),
            ({"headers": {"X-A": "é"}}, "X-A"),
            ({"headers": {"X-A": "a" * 996}}, "X-A"),
            ({"headers": {f"X-{i}": "a" for i in range(16)}}, "15 headers"),
        ],
    )
    def test_what_ses_cannot_take_fails_alone_before_a_call(
        self, provider, server, fields, words
    ):
        """The others are sent."""
        first, *others = self.call(3).messages

        answer = provider.send(Call(None, "b1", [{**first, **fields}, *others], 20.0))

        assert words in answer.failed[0]
        assert answer.accepted == 0b110

    def test_a_domain_of_other_letters_is_sent_as_punycode(self, provider, server):
        """SES takes no others."""
        first = {**self.call(1).messages[0], "to": "user@bücher.example"}

        provider.send(Call(None, "b1", [first], 20.0))

        assert server.took[0].address == "user@xn--bcher-kva.example"

    def test_boto_repeats_nothing_whatever_the_environment_says(
        self, server, monkeypatch
    ):
        """Nor does it take another way."""
        for name, value in (
            ("AWS_MAX_ATTEMPTS", "5"),
            ("AWS_RETRY_MODE", "adaptive"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
            ("HTTPS_PROXY", "http://127.0.0.1:9"),
            ("HTTP_PROXY", "http://127.0.0.1:9"),
        ):
            monkeypatch.setenv(name, value)
        provider = self.build(server.url)
        server.says(server.error(503, "", "Away."))

        answer = provider.send(self.call(1))

        assert answer.unanswered == 1
        assert len(server.requests) == 1
        provider.close()

    def test_ses_would_find_the_signature_right(self, provider, server):
        """What we send is what boto signed, header by header."""
        provider.send(self.call(2))
        provider.account()

        for seen in server.requests:
            told = seen.headers["authorization"]
            signed = re.search(r"SignedHeaders=([^,]+)", told)[1].split(";")
            again = AWSRequest(
                seen.method,
                f"{server.url}{seen.path}",
                {name: seen.headers[name] for name in signed if name != "host"},
                seen.body,
            )
            again.context["timestamp"] = seen.headers["x-amz-date"]
            auth = SigV4Auth(
                Credentials(*self.credentials.values()), "ses", "eu-central-1"
            )
            text = auth.string_to_sign(again, auth.canonical_request(again))
            assert told.endswith(f"Signature={auth.signature(text, again)}")

    def test_the_account_tells_rate_quota_and_sandbox(self, provider, server):
        """So that the limits are the real ones, and a tenant knows why nothing goes."""
        usual = provider.account()
        server.account = {
            "SendQuota": {
                "Max24HourSend": -1.0,
                "MaxSendRate": 1.0,
                "SentLast24Hours": 200.0,
            },
            "SendingEnabled": False,
            "ProductionAccessEnabled": False,
        }

        paused = provider.account()

        assert usual == Account(14.0, 50000.0, 12.0, is_sandbox=False)
        assert (paused.per_day, paused.is_sandbox) == (None, True)
        assert "paused" in paused.blocked

    def test_an_account_that_cannot_be_asked_is_none(self, provider, server):
        """The limits then stay as they were."""
        server.says(server.error(403, "AccessDeniedException", "No."))

        assert provider.account() is None

    @pytest.mark.parametrize("size", [1, 2])
    def test_a_mail_needs_no_more_than_it_has(self, server, size):
        """Without the config's sender and set, and with one text alone."""
        settings = SesSettings("eu-central-1")
        keys = self.credentials.values()
        provider = ses.Ses(settings, *keys, guard=LOCAL, base_url=server.url)
        shown = ("batch", "seq", "to", "subject", "html")
        messages = [
            {"from": "me@example.com", **{name: m[name] for name in shown}}
            for m in self.call(size).messages
        ]

        answer = provider.send(Call(None, "b1", messages, 20.0))

        assert answer.accepted == bits.everyone(size)
        assert {m["from"] for m in server.mails} == {"me@example.com"}
        assert "text" not in server.mails[0]
        assert "ConfigurationSetName" not in server.requests[0].json
        assert not provider.capabilities.reports_events
        provider.close()

    def test_a_mail_without_any_sender_is_left_to_ses(self, provider, server):
        """It knows best what is missing."""
        server.says(server.error(400, "BadRequestException", "Missing sender."))
        settings = SesSettings("eu-central-1")
        keys = self.credentials.values()
        provider = ses.Ses(settings, *keys, guard=LOCAL, base_url=server.url)

        answer = provider.send(self.call(1))

        assert "Missing sender." in answer.failed[0]

    def test_entries_that_are_none_prove_nothing(self, provider, server):
        """As many as there are members, and each an object with a state."""
        for entries in ([1, 2], [{"Status": "SUCCESS"}], [{}, {"Status": "NEW"}]):
            server.answers(orjson.dumps({"BulkEmailEntryResults": entries}))

            answer = provider.send(self.call(2))

            assert answer.unanswered == 0b11

    def test_a_suspended_account_says_so(self, provider, server):
        """Nothing is sent for it."""
        server.account = {**server.account, "EnforcementStatus": "SHUTDOWN"}

        assert "suspended" in provider.account().blocked

    def test_what_boto_does_not_write_is_not_sent(self, provider, server):
        """The config is held: no repetition would do better."""
        transport, client = provider._transport, provider._client

        wrong = transport.call(client.send_email, {"Content": 17}, deadline_s=5)
        nothing = transport.call(dict, {}, deadline_s=5)

        assert wrong.is_forbidden
        assert nothing.is_forbidden
        assert server.requests == []
