"""A bucket keeps the last value of each key, and lets one writer win."""

import contextlib
import os
import threading
import time

import pytest

from brokers import JetStreamBroker, MessageTooLarge
from brokers.kv import Bucket
from tests.integration.brokers.conftest import Server, until


@pytest.fixture
def bucket(broker):
    return broker.bucket(f"bucket-{time.time_ns()}", separator="@")


@pytest.mark.parametrize("key", ["plain", "", "a.b *>", "x@y@1", "ключ/=41", "a\r\nb"])
def test_any_text_is_a_key(bucket, key):
    revision = bucket.put(key, b"value")

    entry = bucket.get(key)

    assert (entry.value, entry.revision) == (b"value", revision)
    assert bucket.keys() == {key}
    assert bucket.get_many([key, "other"]) == {key: entry}


def test_only_one_creates_a_key(bucket):
    first = bucket.create("key", b"1")

    second = bucket.create("key", b"2")

    assert first is not None
    assert second is None
    assert bucket.get("key").value == b"1"


def test_an_update_needs_the_last_revision(bucket):
    old = bucket.put("key", b"1")
    new = bucket.update("key", b"2", old)

    late = bucket.update("key", b"3", old)

    assert new > old
    assert late is None
    assert bucket.get("key").value == b"2"


def test_an_update_may_depend_on_a_family(bucket):
    revision = bucket.put("window@1", b"1")
    bucket.put("other@1", b"1")

    new = bucket.update("window@2", b"1", revision, among=bucket.family("window@2"))
    late = bucket.update("window@3", b"1", revision, among=bucket.family("window@3"))

    assert new
    assert late is None
    last, found = bucket.get_among(bucket.family("window@9"), ["window@1", "other@1"])
    assert last == new
    assert {"window@1", "other@1"} <= set(found)
    assert bucket.get_among(bucket.family("none@1"), ["none@1"]) == (0, {})


def test_a_family_is_read_no_older_than_its_last_revision(bucket, monkeypatch):
    """In a cluster the second answer may come from a server that knows less."""
    bucket.put("window@1", b"1")
    bucket.put("window@2", b"2")
    get_all, calls = Bucket._get_all, []

    def stale_once(self, *args):
        calls.append(args)
        return [] if len(calls) == 1 else get_all(self, *args)

    monkeypatch.setattr(Bucket, "_get_all", stale_once)

    _, found = bucket.get_among(bucket.family("window@1"), ["window@1"])

    assert found["window@1"].value == b"1"
    assert len(calls) == 2


def test_a_key_is_deleted_and_created_anew(bucket):
    old = bucket.put("key", b"1")
    new = bucket.put("key", b"2")

    assert not bucket.delete("key", revision=old)
    assert bucket.delete("key", revision=new)
    assert not bucket.delete("key")

    assert bucket.get("key") is None
    assert bucket.create("key", b"3")


def test_a_value_ends_with_its_lifetime(bucket):
    """Lifetimes are whole seconds at the server, rounded up."""
    began = time.monotonic()
    bucket.put("key", b"1", ttl_ms=200)

    until(lambda: bucket.get("key") is None, within_s=10)

    assert time.monotonic() - began >= 0.9
    assert bucket.create("key", b"2")


def test_many_keys_are_read_in_pages(bucket):
    bucket.put("key@0", b"0")
    bucket.put("key@1500", b"1500")

    found = bucket.get_many([f"key@{n}" for n in range(2001)])

    assert {key: entry.value for key, entry in found.items()} == {
        "key@0": b"0",
        "key@1500": b"1500",
    }


def test_whoever_waits_is_told(bucket):
    """Many wait for the same key; none asks again and again."""
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(bucket.wait("key", 30)))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    inboxes = bucket._connection.link()._inboxes
    until(lambda: len(inboxes) == 5)
    began = time.monotonic()

    revision = bucket.put("key", b"here")

    for thread in threads:
        thread.join()
    assert [(one.value, one.revision) for one in found] == [(b"here", revision)] * 5
    assert time.monotonic() - began < 8
    until(lambda: not inboxes)


def test_a_lost_word_delays_a_waiter_and_no_more(bucket, monkeypatch):
    monkeypatch.setattr("brokers.kv.LOOK_S", 0.3)
    monkeypatch.setattr("brokers.kv.Waiter.take", lambda *_: None)
    found = []
    thread = threading.Thread(target=lambda: found.append(bucket.wait("key", 30)))
    thread.start()
    until(lambda: bucket._connection.link()._inboxes)

    bucket.put("key", b"here")

    thread.join(20)
    assert found[0].value == b"here"


def test_a_waiter_survives_the_servers_death(tmp_path):
    """What is stored while it has no connection is found when it is back."""
    server = Server(tmp_path)
    server.start()
    brokers = [JetStreamBroker(server.url, middleware=[]) for _ in range(2)]
    bucket, other = (broker.bucket("survivor") for broker in brokers)
    other.put("first", b"")
    found = []
    thread = threading.Thread(target=lambda: found.append(bucket.wait("key", 60)))
    thread.start()
    until(lambda: bucket._connection.link()._inboxes)

    server.kill()
    server.start()
    other.put("key", b"here")

    thread.join()
    assert found[0].value == b"here"
    for broker in brokers:
        broker.close()
    server.kill()


def test_waiting_ends_in_time(bucket):
    began = time.monotonic()

    assert bucket.wait("key", 0.3) is None

    assert time.monotonic() - began >= 0.3


def test_a_vanished_bucket_is_made_again(bucket):
    bucket.put("key", b"1")
    link = bucket._connection.link()
    link.run(link.api(f"STREAM.DELETE.{bucket.stream}"))

    assert bucket.get("key") is None
    link.run(link.api(f"STREAM.DELETE.{bucket.stream}"))
    assert bucket.create("key", b"2")


def test_a_value_too_large_is_refused_before_it_is_sent(bucket):
    with pytest.raises(MessageTooLarge):
        bucket.put("key", b"x" * 2_000_000)

    assert bucket.put("key", b"small")


def test_a_forked_child_uses_a_connection_of_its_own(bucket):
    bucket.put("parent", b"1")

    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            bucket.put("child", b"2")
            bucket._connection.close()
            os._exit(0)
        os._exit(1)

    assert os.waitpid(child, 0)[1] == 0
    assert bucket.keys() == {"parent", "child"}


@pytest.mark.parametrize("name", ["", "a.b", "a b", ">"])
def test_a_buckets_name_is_one_plain_token(broker, name):
    with pytest.raises(ValueError, match="bucket's name"):
        broker.bucket(name)


def test_a_write_whose_answer_was_lost_is_known_as_ours(bucket, monkeypatch):
    """The request is sent twice, and the second time the server refuses it."""
    bucket.put("other", b"")
    answers = Bucket._answers

    def twice(self, subject, *args, headers=None, **options):
        if headers:
            answers(self, subject, *args, headers=headers, **options)
        found, repeated = answers(self, subject, *args, headers=headers, **options)
        return found, repeated or bool(headers)

    monkeypatch.setattr(Bucket, "_answers", twice)

    revision = bucket.create("key", b"1")

    assert revision == bucket.get("key").revision
