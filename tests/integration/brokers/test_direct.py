"""Messages stored one by one, past the event loop."""

import threading

import dramatiq
import pytest
from dramatiq import Message

from brokers import JetStreamBroker
from brokers.direct import WORTH_PER_S
from brokers.encoding import ENCODER
from tests.integration.brokers.conftest import Server, until


def job(number=0):
    return Message("default", "note", (number,), {}, {})


def shortcut(broker):
    return broker._connection.link()._shortcut


def hurry(broker):
    """Enqueue fast until a line is there; return how many messages that took."""
    sent = []

    def is_open():
        for _ in range(WORTH_PER_S):
            broker.enqueue(job())
            sent.append(1)
        return shortcut(broker).is_open

    until(is_open)
    return len(sent)


@pytest.fixture
def mortal(tmp_path):
    dramatiq.set_encoder(ENCODER)
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


def test_what_threads_store_by_the_line_and_past_it_is_there_once(broker):
    before = hurry(broker)
    errors = []

    def store():
        try:
            for number in range(100):
                broker.enqueue(job(number))
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=store) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors
    assert broker.stored("default") == {"": before + 400}
    assert shortcut(broker).is_open


def test_a_line_that_breaks_costs_no_message_and_makes_none_twice(mortal):
    """What the dead server may or may not have stored is stored again, by its id."""
    broker = JetStreamBroker(mortal.url, middleware=[])
    before = hurry(broker)

    mortal.kill()
    again = threading.Thread(target=mortal.start)
    again.start()
    broker.enqueue(job())

    again.join()
    assert broker.stored("default") == {"": before + 1}
    assert not shortcut(broker).is_open
    broker.close()


def test_a_refusal_by_the_line_is_told_like_any_other(broker):
    """A stream that went away is made again."""
    hurry(broker)
    link = broker._connection.link()
    link.run(link.api(f"STREAM.DELETE.{broker._topology.settings.namespace}"))

    broker.enqueue(job())

    assert broker.stored("default") == {"": 1}


def test_a_closed_broker_has_no_line_and_a_later_use_may_have_one(broker):
    hurry(broker)
    first = shortcut(broker)

    broker.close()

    assert not first.is_open
    assert hurry(broker)
    assert shortcut(broker) is not first
