"""Whatever comes, the answer is 2xx, 4xx or 503, and only genuine reports are kept."""

import gzip
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.reports import (
    RESEND_EVENT,
    standard_headers,
    telnyx_headers,
)
from webhook_app.budget import (
    BURST,
    Budget,
    SlowDownError,
    networks,
    source_of,
)
from webhook_app.reading import MAX_READS, Reading
from webhook_app.requests import MAX_BODY_BYTES

_PATHS = st.one_of(
    st.sampled_from(["resend", "ses", "telnyx", "custom/m", "resend/x", "custom", ""]),
    st.text(max_size=20),
)
_NAMES = st.sampled_from(
    (
        *("svix-id", "svix-timestamp", "svix-signature", "telnyx-timestamp"),
        *("telnyx-signature-ed25519", "content-encoding", "x-forwarded-for"),
    )
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda some: (
        st.lists(some, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "data", "id", "event_type", "Type", "Message"])
            | st.text(max_size=5),
            some,
            max_size=4,
        )
    ),
    max_leaves=10,
)
_FIELDS = (
    *("Type", "Message", "MessageId", "Timestamp", "TopicArn"),
    *("Signature", "SignatureVersion", "SigningCertURL"),
)
_PATIENT = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def is_decent(status: int) -> bool:
    return 200 <= status < 300 or 400 <= status < 500 or status == 503


@_PATIENT
@given(
    path=_PATHS,
    method=st.sampled_from(["POST", "POST", "GET", "PUT", "HEAD", "OPTIONS"]),
    headers=st.dictionaries(
        _NAMES,
        st.text(
            st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30
        ),
        max_size=4,
    ),
    body=st.binary(max_size=200),
)
def test_no_request_makes_it_stumble(client, stored, *, path, method, headers, body):
    answer = client.open(f"/webhooks/{path}", method=method, headers=headers, data=body)

    assert is_decent(answer.status_code)
    assert stored.jobs == []


@_PATIENT
@given(event=_JSON, path=st.sampled_from(["resend", "telnyx", "custom/m"]))
def test_no_genuine_report_makes_it_stumble(provider, event, path):
    """Whatever JSON it is."""
    raw = orjson.dumps(event)
    headers = standard_headers(raw) | telnyx_headers(raw)

    answer = provider.post(path, raw, headers=headers)

    assert answer.status_code in (200, 400)


@_PATIENT
@given(
    event=_JSON,
    name=st.sampled_from(_FIELDS),
    value=_JSON,
    address=st.ip_addresses(v=4),
)
def test_no_notification_makes_it_stumble(
    provider, aws, *, event, name, value, address
):
    """Genuine with any content, or with one field that is anything."""
    sender = {"environ_overrides": {"REMOTE_ADDR": str(address)}}
    genuine = provider.post("ses", aws.message(event), **sender)
    forged = provider.post("ses", aws.message() | {name: value}, **sender)
    nothing = provider.post("ses", event, **sender)

    assert genuine.status_code in (200, 400)
    assert forged.status_code in (400, 401, 503)
    assert nothing.status_code == 400


def test_a_body_that_is_too_large_is_not_read(client):
    class Stream(io.BytesIO):
        def read(self, size=-1):
            raise AssertionError("It is not to be read.")

    told = {"CONTENT_LENGTH": str(MAX_BODY_BYTES + 1), "wsgi.input": Stream()}
    answer = client.post("/webhooks/resend", environ_overrides=told)

    assert answer.status_code == 413


def test_a_body_without_a_length_is_read_no_further_than_the_cap(client):
    stream = io.BytesIO(b"x" * MAX_BODY_BYTES * 3)
    chunked = {
        "wsgi.input": stream,
        "wsgi.input_terminated": True,
        "CONTENT_LENGTH": "",
    }
    answer = client.post("/webhooks/resend", environ_overrides=chunked)

    assert answer.status_code == 413
    assert stream.tell() <= MAX_BODY_BYTES + 1


def test_a_body_that_ends_too_early_is_malformed(client):
    cut = {"CONTENT_LENGTH": "100", "wsgi.input": io.BytesIO(b"{}")}

    assert client.post("/webhooks/resend", environ_overrides=cut).status_code == 400


@pytest.mark.parametrize("length", ["-1", "x", "²", "1" * 30])
def test_a_length_that_is_none_is_malformed(client, length):
    told = {"CONTENT_LENGTH": length}

    assert client.post("/webhooks/resend", environ_overrides=told).status_code == 400


def test_a_compressed_body_is_not_unpacked(provider, stored):
    """Not even one that is signed: a bomb never goes off."""
    bomb = gzip.compress(b" " * 100_000_000)
    headers = standard_headers(bomb)

    named = provider.post(
        "resend", bomb, headers=headers | {"content-encoding": "gzip"}
    )
    unnamed = provider.post("resend", bomb, headers=headers)

    assert (named.status_code, unnamed.status_code) == (415, 400)
    assert stored.jobs == []


@pytest.mark.parametrize(
    "event", [b"[" * 100_000, b'{"type":' * 5000, b"nan", b'"\\ud800"']
)
def test_json_that_is_none_is_malformed(provider, event):
    answer = provider.post("resend", event, headers=standard_headers(event))

    assert answer.status_code == 400


def test_who_sends_bad_signatures_is_slowed_down_and_nobody_else(provider, stored):
    raw = orjson.dumps(RESEND_EVENT)
    bad = {"REMOTE_ADDR": "192.0.2.1"}
    good = {"REMOTE_ADDR": "192.0.2.2"}
    statuses = [
        provider.post("resend", raw, environ_overrides=bad).status_code
        for _ in range(BURST + 20)
    ]
    slowed = provider.post(
        "resend", raw, headers=standard_headers(raw), environ_overrides=bad
    )
    taken = provider.post(
        "resend", raw, headers=standard_headers(raw), environ_overrides=good
    )

    assert set(statuses[:BURST]) == {401}
    assert statuses[-1] == slowed.status_code == 429
    assert int(slowed.headers["Retry-After"]) >= 1
    assert taken.status_code == 200
    assert len(stored.jobs) == 1


def test_an_address_with_genuine_reports_is_never_slowed_down(provider):
    """A provider's customers share its addresses, good and bad ones."""
    raw = orjson.dumps(RESEND_EVENT)
    shared = {"REMOTE_ADDR": "192.0.2.1"}
    genuine = standard_headers(raw)
    provider.post("resend", raw, headers=genuine, environ_overrides=shared)
    for _ in range(BURST * 2):
        provider.post("resend", raw, environ_overrides=shared)

    taken = provider.post("resend", raw, headers=genuine, environ_overrides=shared)

    assert taken.status_code == 200


def test_a_suspect_makes_nobody_fetch_a_certificate(provider, aws):
    """Not even from an address that is known for genuine reports."""
    shared = {"REMOTE_ADDR": "192.0.2.1"}
    provider.signed()
    genuine = standard_headers(orjson.dumps(RESEND_EVENT))
    provider.post("resend", RESEND_EVENT, headers=genuine, environ_overrides=shared)
    for _ in range(BURST + 20):
        provider.post("resend", b"", environ_overrides=shared)

    answer = provider.post("ses", aws.message(), environ_overrides=shared)

    assert answer.status_code == 401
    assert aws.fetched == []


def test_slow_bodies_of_one_sender_leave_threads_for_the_others():
    """The next one of its own is refused, another sender's is read."""
    slow, begun = threading.Event(), threading.Semaphore(0)

    def read(environ):
        begun.release()
        assert environ or slow.wait(60)
        return b""

    reading = Reading(read)
    with ThreadPoolExecutor(MAX_READS) as threads:
        waiting = [threads.submit(reading.body, {}, "a") for _ in range(MAX_READS)]
        for _ in waiting:
            assert begun.acquire(timeout=60)

        with pytest.raises(SlowDownError):
            reading.body({"x": 1}, "a")
        assert reading.body({"x": 1}, "b") == b""
        slow.set()

    assert reading.body({"x": 1}, "a") == b""
    assert reading._under_way == {}


def test_what_was_spent_comes_back(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("webhook_app.budget.time.monotonic", lambda: clock[0])
    budget = Budget()
    for _ in range(BURST):
        budget.take("a")

    with pytest.raises(SlowDownError) as slowed:
        budget.check("a")
    clock[0] += slowed.value.wait_s

    budget.check("a")


def test_only_so_many_senders_are_remembered(monkeypatch):
    monkeypatch.setattr("webhook_app.budget.MAX_SOURCES", 10)
    budget = Budget()
    for number in range(100):
        budget.take(f"bad{number}")
        budget.trust(f"good{number}")

    assert len(budget._left) <= 10
    assert len(budget._genuine) <= 10


@pytest.mark.parametrize(
    ("peer", "told", "source"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "nonsense", "unknown"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("::ffff:192.0.2.1", "", "192.0.2.1"),
        ("2001:db8::1:2:3:4", "", "2001:db8::/64"),
        ("", "", "unknown"),
    ],
)
def test_only_our_own_proxies_are_believed(peer, told, source):
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": told}

    assert source_of(environ, networks("10.0.0.0/8")) == source
