"""Dead letters can be looked at, sent back without loss, and dropped."""

from datetime import UTC, datetime, timedelta

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.middleware import Retries

from brokers import LetterNotFound, Route
from brokers.errors import NotStoredError
from brokers.letters import _messages
from tests.integration.brokers.conftest import until


@pytest.fixture
def failing(make_broker):
    """A broker whose actor `work` raises while `wrong` has something in it."""

    def make(*, queue="default", **options):
        broker = make_broker(middleware=[Retries(max_retries=0)], **options)
        broker.wrong, broker.done = [ValueError("Grüße\nzweite Zeile")], []

        @dramatiq.actor(actor_name="work", queue_name=queue, broker=broker)
        def actor(n):
            if broker.wrong:
                raise broker.wrong[0]
            broker.done.append(n)

        broker.dead_letters().drop()
        return broker

    return make


def send(broker, *numbers, queue="default", **options):
    messages = [Message(queue, "work", (n,), {}, options) for n in numbers]
    broker.enqueue_many(messages)
    return messages


def died(broker, count, queue=None):
    letters = broker.dead_letters(queue)
    until(lambda: letters.count() == count)
    return letters


def test_a_letter_tells_what_died_and_of_what(failing, work):
    broker = failing()
    work(broker, threads=1)
    before = datetime.now(UTC)

    first, _ = send(broker, 1, 2)

    one, two = died(broker, 2, "default")
    assert one.message == first
    assert (one.queue, one.reason, one.deliveries) == ("default", "failed", 1)
    assert one.error == "ValueError: Grüße\nzweite Zeile"
    assert "in actor\n" in one.traceback
    assert timedelta() <= one.died_at - before < timedelta(minutes=1)
    assert one.sequence < two.sequence
    assert broker.dead_letters("default").show(two.sequence) == two
    assert list(broker.dead_letters("other")) == []
    with pytest.raises(LetterNotFound):
        broker.dead_letters("other").show(two.sequence)


def test_replayed_letters_run_again_and_may_die_again(failing, work):
    """Each death makes a letter of its own, so that each can be replayed."""
    broker = failing()
    work(broker)
    send(broker, 1, 2, 3)
    first = [one.sequence for one in died(broker, 3)]

    assert broker.dead_letters("default").replay(first[:1]) == 1

    again = until(lambda: [n for n in died(broker, 3) if n.sequence not in first])
    broker.wrong.clear()
    assert again[0].sequence > first[-1]
    assert broker.dead_letters().replay() == 3
    until(lambda: sorted(broker.done) == [1, 2, 3])
    assert broker.dead_letters().count() == 0
    assert broker.dead_letters().replay() == 0


def test_a_tenants_letter_goes_back_to_its_tenant(failing, work):
    route = Route("t", "letters", "letters.{tenant}.x")
    broker = failing(queue="t", routes=[route])
    worker = work(broker)
    send(broker, 7, queue="t", tenant="ann")
    died(broker, 1, "t")
    worker.stop()

    broker.dead_letters("t").replay()

    assert broker.stored("t") == {"ann": 1}


def test_bytes_that_are_no_message_come_back_as_they_were(failing, work):
    broker = failing()
    subject = broker._topology.route("default").subject
    send(broker, 0)
    link = broker._connection.link()
    link.run(link.request(subject, b"\xff"))
    work(broker)

    bad = next(one for one in died(broker, 2) if one.reason == "undecodable")

    assert (bad.body, bad.message) == (b"\xff", None)
    assert bad.subject == subject


def test_what_is_not_stored_stays_a_letter(failing, work, monkeypatch):
    """First the message, then the letter: in between both exist, never neither."""
    broker = failing()
    worker = work(broker)
    send(broker, 1)
    died(broker, 1)
    worker.stop()

    def lost(*_, **__):
        raise NotStoredError("No answer.")

    letters = broker.dead_letters()
    for place in ("publishing.Publisher._store", "letters.DeadLetters._remove"):
        with monkeypatch.context() as patch:
            patch.setattr(f"brokers.{place}", lost)
            with pytest.raises(NotStoredError):
                letters.replay()

    assert broker.dead_letters().count() == 1
    assert broker.stored("default") == {"": 1}
    assert broker.dead_letters().replay() == 1
    assert broker.stored("default") == {"": 1}


def test_more_letters_than_a_page_are_read_page_by_page(failing, work, monkeypatch):
    """Also where a page is full of bytes before it is full of letters."""
    monkeypatch.setattr("brokers.letters.PAGE", 10)
    broker = failing()
    work(broker)
    send(broker, *range(25), *("x" * 300_000 for _ in range(5)))
    letters = died(broker, 30)
    monkeypatch.setattr("brokers.letters.PAGE_BYTES", 200_000)

    found = [one.sequence for one in letters]

    assert found == sorted(set(found))
    assert len(found) == 30
    assert len(letters.page(limit=100)) < 30
    broker.wrong.clear()
    assert letters.replay() == 30
    until(lambda: len(broker.done) == 30)


def test_dropping_takes_some_or_all_of_a_queue(failing, work):
    broker = failing()
    work(broker)
    send(broker, 1, 2, 3)
    first, *_ = died(broker, 3)

    assert broker.dead_letters("other").drop() == 0
    assert broker.dead_letters("default").drop([first.sequence]) == 1
    with pytest.raises(LetterNotFound):
        broker.dead_letters("default").drop([first.sequence])
    assert broker.dead_letters("default").drop() == 2

    assert broker.dead_letters().count() == 0


def test_a_letter_lives_as_long_as_broker_actor_or_message_say(
    make_broker, work, monkeypatch
):
    """The message's own option wins, then its actor's, then the environment."""
    monkeypatch.setenv("dramatiq_dead_message_ttl", "86400000")
    broker = make_broker(middleware=[Retries(max_retries=0)])
    broker.dead_letters().drop()

    def wrong():
        raise ValueError

    for name, options in (("plain", {}), ("short", {"dead_message_ttl": 1000})):
        dramatiq.actor(wrong, actor_name=name, broker=broker, **options)
    work(broker)
    link = broker._connection.link()

    for name, options in (
        ("plain", {}), ("short", {"dead_message_ttl": 60_000}), ("short", {}),
    ):  # fmt: skip
        broker.enqueue(Message("default", name, (), {}, options))

    until(lambda: broker.stored("default") == {"": 0})
    until(lambda: broker.dead_letters().count() == 2)
    wanted = {"seq": 1, "next_by_subj": "dead.*", "batch": 9}
    lives = [one.headers["Nats-TTL"] for one in link.run(_messages(link, wanted))]
    assert sorted(lives) == ["60s", "86400s"]


def test_an_older_stream_of_dead_letters_is_brought_up_to_date(make_broker):
    """One that could neither be read in pages nor keep letters of different lives."""
    broker = make_broker()
    link = broker._connected_link()
    broker.dead_letters().drop()
    link.run(link.api("STREAM.DELETE.dead-letters"))
    old = {
        "name": "dead-letters", "subjects": ["dead.>"], "retention": "limits",
        "storage": "file", "max_age": 7 * 86_400 * 10**9,
    }  # fmt: skip
    link.run(link.api("STREAM.CREATE.dead-letters", old))

    assert list(make_broker().dead_letters()) == []

    config = link.run(link.api("STREAM.INFO.dead-letters"))["config"]
    assert (config["max_age"], config["allow_msg_ttl"]) == (0, True)
