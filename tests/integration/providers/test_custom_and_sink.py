"""The custom provider against the real sink: what both say of the same call."""

import re
import subprocess
import sys

import pytest
import requests

from models import bits
from models.message import Content, Templates
from providers import registry
from providers.guard import Guard
from providers.provider import Call

LOCAL = Guard.of(ports="80", networks="127.0.0.0/8")


def messages(first: int, size: int, text: str = "Hello"):
    content = Content.of({"text": text})
    rows = [f"r{i}@example.com" for i in range(size)], [{}] * size
    return Templates.compile(content).render("b1", first, *rows).messages


def call(first=0, size=3, *, key=None, deadline_s=5.0, text="Hello"):
    return Call(key, "b1", messages(first, size, text), deadline_s)


@pytest.fixture
def provider_of():
    """Return a function that builds a provider for a URL."""
    built = []

    def build(url, credentials=None, **settings):
        found = registry.build(
            "custom", {"url": url, **settings}, credentials or {}, guard=LOCAL
        )
        built.append(found)
        return found

    yield build
    for found in built:
        found.close()


def test_what_is_accepted_stands_in_the_ledger(start_sink, provider_of):
    """Arrays and single messages alike, each call one line."""
    sink = start_sink()

    many = provider_of(sink.url).send(call(0, 500))
    one = provider_of(sink.url, maxBatch=1).send(call(700, 1))

    assert many.accepted == bits.everyone(500)
    assert one.accepted == 1
    assert [line.seqs for line in sink.ledger.calls] == ["0-499", "700"]
    assert sink.ledger.lost("b1", 500) == []
    assert sink.ledger.repeated("b1") == []
    assert sink.stats() == {
        "accepted": 501,
        "repeated": 0,
        "rejected": 0,
        "calls": 2,
        "batches": 1,
    }


def test_the_sink_rejects_the_same_recipients_each_time(start_sink, provider_of):
    """Provider and ledger agree who they are."""
    provider = provider_of(start_sink("--fail-rate", "0.3").url)
    again = start_sink("--fail-rate", "0.3")

    first = provider.send(call(0, 200))
    second = provider_of(again.url).send(call(0, 200))

    assert first.failed == second.failed
    assert 20 < len(first.failed) < 120
    assert again.ledger.lost("b1", 200) == sorted(first.failed)
    assert first.accepted == bits.everyone(200) & ~bits.of_positions(first.failed)


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_keyed_sink_takes_a_call_once(start_sink, provider_of, is_killed):
    """The answer is the first one's; a kill of the sink does not make it forget."""
    options = ("--keyed", "--fail-rate", "0.3")
    sink = start_sink(*options)
    first = provider_of(sink.url).send(call(0, 50, key="b1:0:0"))
    if is_killed:
        sink.kill()
        sink = start_sink(*options)

    second = provider_of(sink.url).send(call(0, 50, key="b1:0:0"))

    assert second == first
    assert first.failed
    assert [line.is_replay for line in sink.ledger.calls] == [False, True]
    assert sink.ledger.repeated("b1") == []


def test_a_key_with_another_body_is_unanswered(start_sink, provider_of):
    """The sink says 409 and takes nobody."""
    sink = start_sink("--keyed")
    provider = provider_of(sink.url, idempotencyKeys=True)
    provider.send(call(0, 3, key="b1:0:0"))

    found = provider.send(call(0, 3, key="b1:0:0", text="Else"))

    assert found.unanswered == bits.everyone(3)
    assert [line.status for line in sink.ledger.calls] == [200, 409]
    assert sink.ledger.repeated("b1") == []


def test_without_keys_the_sink_counts_each_call(start_sink, provider_of):
    """That is how a repetition is found."""
    sink = start_sink()
    provider = provider_of(sink.url)

    provider.send(call(0, 3))
    provider.send(call(2, 3))

    assert sink.ledger.repeated("b1") == [2]


@pytest.mark.parametrize(
    ("wanted", "expected", "delivered"),
    [
        ({"status": 503}, "unanswered", 0),
        ({"status": 429}, "later", 0),
        ({"status": 422}, "failed", 0),
        ({"hang": True}, "unanswered", 0),
        ({"resetAfterAccept": True}, "unanswered", 3),
        ({"latencyMs": 60_000}, "unanswered", 3),
    ],
)
def test_a_misbehaviour_holds_as_often_as_asked(
    start_sink, provider_of, wanted, expected, delivered
):
    """The ledger tells what nobody else can: whether the call was taken."""
    sink = start_sink()
    provider = provider_of(sink.url)
    sink.control(**wanted, times=1)

    found = provider.send(call(0, 3, deadline_s=0.3))
    after = provider.send(call(3, 3))

    everyone = bits.everyone(3)
    assert found.accepted == 0
    assert (found.unanswered == everyone) is (expected == "unanswered")
    assert (len(found.failed) == 3) is (expected == "failed")
    assert found.retry_after_s == (1.0 if expected == "later" else None)
    assert after.accepted == everyone
    assert sink.ledger.accepted("b1") == delivered + 3


def test_a_reset_sink_forgets_keys_and_control_but_not_its_ledger(
    start_sink, provider_of
):
    """What was delivered stays true."""
    sink = start_sink("--keyed")
    provider = provider_of(sink.url)
    provider.send(call(0, 1, key="k"))
    sink.control(status=503)

    assert requests.delete(f"{sink.url}reset", timeout=5).status_code == 204

    assert provider.send(call(0, 1, key="k")).accepted == 1
    assert sink.stats()["calls"] == 1
    assert sink.ledger.repeated("b1") == [0]


def test_what_is_no_message_is_refused(start_sink):
    """The sink takes messages of one batch, and tells its health."""
    url = start_sink().url

    def status(body):
        return requests.post(url, body, timeout=5).status_code

    assert status(b"{") == 400
    assert status(b"[]") == 400
    assert status(b'{"seq":1}') == 400
    assert status(b'[{"seq":1,"batch":"a"},{"seq":1,"batch":"b"}]') == 400
    assert status(b'[{"seq":"1","batch":"a"}]') == 400
    assert requests.get(f"{url}health", timeout=5).status_code == 204
    assert requests.get(f"{url}nothing", timeout=5).status_code == 404


def test_a_taken_port_is_one_clear_sentence(start_sink, tmp_path):
    """And no trace of the program."""
    port = re.search(r":(\d+)/", start_sink().url)[1]
    command = [sys.executable, "-m", "embedded.sink", "--port", port]

    ended = subprocess.run(
        [*command, "--ledger", tmp_path / "other"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    assert (
        ended.stderr == f"Error: Port {port} is taken; choose another, or 0 for any.\n"
    )
