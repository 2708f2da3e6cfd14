"""What every provider must do, tried on a fake of it that misbehaves.

A provider's own suite is a subclass that says how it is built and how its fake puts an
error; see docs/add-a-provider.md.
"""

import logging
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest

from models import bits
from models import chunk as rules
from models.capabilities import capabilities, checked_settings
from models.chunk import Chunk
from models.content import Attachment
from models.message import Content, Templates
from models.outcome import Answer
from providers import registry
from providers.guard import Guard
from providers.provider import Call, File, Provider
from providers.verdicts import ErrorTable, Then, Verdict
from tests.fakes.server import FakeProvider, Reply

LOCAL = Guard.of(ports="443", networks="127.0.0.0/8")
DEADLINE_S = 0.3
#: A file, and an image that the HTML text shows.
FILES = (
    File(Attachment("a" * 64, "a.pdf", "application/pdf"), b"%PDF"),
    File(Attachment("b" * 64, "b.png", "image/png", "logo"), b"PNG"),
)
#: How much later than its deadline a call may end on a busy machine, in seconds.
PATIENCE_S = 5.0
KEY = "0193c0de-0000-7000-8000-000000000001:0:1"
#: A status that no table names, of each hundred.
_UNNAMED = {"3xx": 308, "4xx": 418, "5xx": 507}


class ProviderContract:
    """One suite for all providers.

    Attributes:
        name: The provider's name in configs.
        settings: A config's settings.
        credentials: A config's credentials; none may ever be seen again, but
        public: those of them that are no secret.
        errors: Its table.
        fake: The class of its fake.
        content: A batch's content.
        gives_ids: Its answers hold message ids.
        carries_ids: Our batch and seq travel with each message.
    """

    name: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]]
    credentials: ClassVar[Mapping[str, str]]
    public: ClassVar[frozenset[str]] = frozenset()
    errors: ClassVar[ErrorTable]
    fake: ClassVar[type[FakeProvider]]
    content: ClassVar[Mapping[str, Any]]
    gives_ids: ClassVar[bool] = True
    carries_ids: ClassVar[bool] = True

    def build(self, url: str, *, guard: Guard = LOCAL) -> Provider:
        """Return the provider, calling the fake at `url`."""
        raise NotImplementedError

    def address(self, seq: int) -> str:
        """Return a recipient's address."""
        return f"user{seq}@example.com"

    def say(self, server: FakeProvider, key: str) -> None:
        """Let the fake give the next call the error of a table's row."""
        status, _, name = key.partition(" ")
        if key in _UNNAMED:
            server.says(server.error(_UNNAMED[key], "", "Told to."))
        elif re.fullmatch(r"\d{3}", status):
            server.says(server.error(int(status), name, "Told to."))
        else:
            server.says(server.error(400, status, f"{name} Told to."))

    # --- What each test is given ---

    @pytest.fixture
    def server(self) -> Iterator[FakeProvider]:
        found = self.fake()
        yield found
        found.stop()

    @pytest.fixture
    def provider(self, server: FakeProvider) -> Iterator[Provider]:
        found = self.build(server.url)
        yield found
        found.close()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "row" in metafunc.fixturenames:
            metafunc.parametrize("row", [k for k in self.errors if k != "1xx"])

    def call(
        self, size: int, *, first: int = 0, deadline_s: float = 20.0, key: str = KEY
    ) -> Call:
        """Return a call to `size` recipients, as the send path makes it."""
        addresses = [self.address(seq) for seq in range(first, first + size)]
        people = [{"name": f"Name {seq}"} for seq in range(first, first + size)]
        templates = Templates.compile(Content.of(self.content))
        found = templates.render("b1", first, addresses, people).messages
        return Call(key, "b1", [m for m in found if m is not None], deadline_s)

    # --- What it says of itself ---

    def test_its_abilities_are_what_the_web_app_seals_by(self, provider):
        """Nothing is stated twice, and its settings pass where a config is made."""
        assert provider.capabilities == capabilities(self.name, self.settings)
        assert checked_settings(self.name, self.settings) == self.settings

    def test_it_is_registered_under_its_name(self):
        """The send path knows no other way to it."""
        found = registry.build(
            self.name, self.settings, self.credentials, guard=Guard()
        )

        assert found.capabilities == capabilities(self.name, self.settings)
        found.close()

    def test_its_table_claims_no_refusal_without_proof(self):
        """What ends or frees a recipient rests on proof; a 5xx is none."""
        ends = {Then.FAIL, Then.SUPPRESS, Then.PAUSE, Then.STOP_SENDER}
        for row, verdict in self.errors.items():
            assert verdict.proof == "refused" or verdict.then not in ends, row
            assert verdict.proof == "none" or verdict.then is not Then.UNKNOWN, row
            assert verdict.proof == "none" or not row.startswith("5"), row
            assert verdict.says.strip(), row

    # --- What it makes of answers ---

    def test_a_full_call_is_taken_once(self, provider, server):
        """Each member once, in one request, with the provider's ids."""
        size = provider.capabilities.max_batch

        answer = provider.send(self.call(size))

        assert answer.accepted == bits.everyone(size)
        assert [one.address for one in server.took] == [
            self.address(seq) for seq in range(size)
        ]
        assert len(server.requests) == 1
        assert len({i for i in answer.provider_ids if i}) == size * self.gives_ids

    def test_our_ids_travel_with_each_message(self, provider, server):
        """They are how a later report finds its recipient."""
        size = min(3, provider.capabilities.max_batch)

        provider.send(self.call(size, first=7))

        ids = [("b1", str(seq)) for seq in range(7, 7 + size)]
        expected = ids if self.carries_ids else [(None, None)] * size
        assert [(one.batch, one.seq) for one in server.took] == expected

    def test_a_repeated_call_has_the_same_bytes(self, provider, server):
        """Under a key it is taken once, and answered as the first time."""
        size = min(3, provider.capabilities.max_batch)

        answers = [provider.send(self.call(size)) for _ in range(2)]

        keeps = provider.capabilities.keeps_idempotency_keys
        assert len({seen.body for seen in server.requests}) == 1
        assert len(server.took) == (size if keeps else 2 * size)
        assert answers[0] == answers[1] or not keeps

    def test_who_is_refused_fails_alone(self, provider, server):
        """One bad address is nobody else's harm."""
        size = min(4, provider.capabilities.max_batch)
        bad = size - 1
        server.refused = {self.address(bad)}

        answer = provider.send(self.call(size))

        assert list(answer.failed) == [bad]
        assert answer.accepted == bits.everyone(size - 1)
        assert [one.address for one in server.took] == [
            self.address(seq) for seq in range(size - 1)
        ]

    def test_each_error_is_decided_as_its_row_says(self, provider, server, row):
        """And nothing is called twice."""
        size = min(3, provider.capabilities.max_batch)
        self.say(server, row)

        answer = provider.send(self.call(size))

        assert_decided(answer, self.errors[row], size)
        assert_whole_after(answer, size, keyed=self._keyed(provider))
        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        "fault", ["hangs", "drips", "resets_after_it_took", "is_late"]
    )
    def test_a_call_without_an_answer_is_neither_sent_nor_refused(
        self, provider, server, fault
    ):
        """It ends at its deadline, was made once, and nobody knows better."""
        getattr(server, fault)(*([60] if fault == "is_late" else []))
        size = min(3, provider.capabilities.max_batch)
        began = time.monotonic()

        answer = provider.send(self.call(size, deadline_s=DEADLINE_S))

        assert time.monotonic() - began < DEADLINE_S + PATIENCE_S
        assert answer.unanswered == bits.everyone(size)
        assert_whole_after(answer, size, keyed=self._keyed(provider))
        assert len(server.requests) == 1

    @pytest.mark.parametrize("fault", ["hangs", "resets_after_it_took"])
    def test_a_key_finds_out_what_became_of_a_lost_answer(
        self, provider, server, fault
    ):
        """The repetition is answered, and nobody is sent to twice."""
        if not provider.capabilities.keeps_idempotency_keys:
            pytest.skip("It keeps no keys: the members are unknown.")
        getattr(server, fault)()
        provider.send(self.call(3, deadline_s=DEADLINE_S))

        answer = provider.send(self.call(3))

        assert answer.accepted == bits.everyone(3)
        assert len(server.took) == 3

    @pytest.mark.parametrize("body", [b'{"id', b"[]", b"[1]", b"17", b'{"a":[]}', b""])
    def test_an_answer_that_is_not_what_it_should_be_proves_nothing(
        self, provider, server, body
    ):
        """A 200 of something else is no acceptance, and no refusal."""
        size = min(3, provider.capabilities.max_batch)
        server.answers(body)

        answer = provider.send(self.call(size))

        assert answer.unanswered == self.unreadable(body, size)
        assert not answer.failed

    def unreadable(self, body: bytes, size: int) -> int:
        """Return the members that such an answer leaves without one."""
        return bits.everyone(size)

    def test_a_redirect_is_not_followed(self, provider, server):
        """It would be a second call, that nobody counted."""
        headers = {"Location": f"{server.url}/elsewhere"}
        server.says(Reply(307, b"", headers))

        answer = provider.send(self.call(1))

        assert not answer.accepted
        assert len(server.requests) == 1

    def test_nobody_listening_is_refused_for_now(self, server):
        """No byte left, so the call may be made again, by any key."""
        found = self.build(server.url)
        server.stop()

        answer = found.send(self.call(1))

        assert answer == Answer(taken_up=False, reason=answer.reason)
        assert answer.reason
        found.close()

    def test_it_waits_as_long_as_it_is_asked_to(self, provider, server):
        """`Retry-After` is heeded, whoever sends it."""
        told = server.error(429, "", "Slower.")
        server.says(Reply(429, told.body, {**told.headers, "Retry-After": "17"}))

        answer = provider.send(self.call(1))

        assert answer.retry_after_s == 17
        assert not answer.taken_up

    def test_it_tells_the_limit_that_it_is_told(self, provider):
        """Where the answers have it, each of them does."""
        answer = provider.send(self.call(1))

        assert (answer.rate is not None) is provider.capabilities.rate_headers

    def test_an_account_is_told_where_it_can_be(self, provider):
        """A worker asks those who tell; the others have no answer."""
        found = provider.account()

        assert (found is not None) is provider.capabilities.tells_account

    # --- What nobody may learn ---

    @pytest.mark.parametrize("status", [400, 401, 403, 422, 429, 500])
    def test_credentials_are_in_no_answer_and_no_log(
        self, provider, server, status, caplog
    ):
        """Not even where the provider repeats everything that it was sent."""
        server.repeats_what_it_is_told(status)

        with caplog.at_level(logging.DEBUG):
            answer = provider.send(self.call(1))

        seen = f"{answer!r} {provider!r} {caplog.text}"
        shown = {name for name, it in self.credentials.items() if it in seen}
        assert shown <= self.public

    def test_an_inside_address_is_not_called(self, server):
        """Only who is allowed by name; the config is held until it is changed."""
        found = self.build(server.url, guard=Guard())

        answer = found.send(self.call(1))

        assert answer == Answer(taken_up=False, reason=answer.reason, hold=answer.hold)
        assert (answer.hold.scope, answer.hold.reason) == ("config", answer.reason)
        assert server.requests == []
        found.close()

    def _keyed(self, provider: Provider) -> bool:
        return provider.capabilities.keeps_idempotency_keys


def assert_decided(answer: Answer, verdict: Verdict, size: int) -> None:
    """Check that an answer to a whole call is what a row of a table says."""
    everyone = bits.everyone(size)
    is_failed = verdict.then in (Then.FAIL, Then.SUPPRESS)
    is_unknown = verdict.then is Then.UNKNOWN
    is_none = verdict.proof == "none" and not is_unknown
    scope = {Then.PAUSE: "config", Then.STOP_SENDER: "sender"}.get(verdict.then)
    assert answer.accepted == 0
    assert answer.unanswered == (everyone if is_none else 0)
    assert answer.undecidable == (everyone if is_unknown else 0)
    assert len(answer.failed) == (size if is_failed else 0)
    assert len(answer.suppress) == (size if verdict.then is Then.SUPPRESS else 0)
    assert (answer.hold and answer.hold.scope) == scope
    assert answer.taken_up is (is_failed or verdict.proof == "none")
    assert (answer.retry_after_s is not None) is (verdict.then is Then.RETRY_LATER)
    reasons = [answer.reason, *answer.failed.values()]
    assert any(verdict.says in reason for reason in reasons)
    assert scope is None or verdict.says in answer.hold.reason


def assert_whole_after(answer: Answer, size: int, *, keyed: bool) -> None:
    """Check what the ledger makes of it: everybody once, and no doubt forgotten."""
    begun = rules.begun(
        Chunk("b1", 0, 0, size), [bits.everyone(size)], account="a", at=0
    )
    after = rules.answered(begun, begun.in_call[0], answer, keyed=keyed)
    sets = (after.open, after.calling, after.sent, after.failed, after.unknown)
    assert sum(one.bit_count() for one in sets) == size
    assert after.unknown == (answer.unanswered * (not keyed)) | answer.undecidable
    assert after.doubt == answer.unanswered | answer.undecidable
