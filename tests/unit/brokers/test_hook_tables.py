"""Which hooks are called for which message."""

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.broker import MessageProxy
from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    Middleware,
    Pipelines,
    Retries,
    ShutdownNotifications,
    TimeLimit,
    default_middleware,
)

from brokers import JetStreamBroker
from brokers.cancelling import Cancelling

#: Of Dramatiq's own, this alone has work for every message. Any may be cancelled.
ALWAYS = {TimeLimit}
BEFORE = {Cancelling, TimeLimit}


@pytest.fixture
def broker():
    return JetStreamBroker(middleware=[one() for one in default_middleware])


def called(broker, options, *, actor="work", when="after_", **outcome):
    message = MessageProxy(Message("default", actor, (), {}, options))
    hooks = broker._hooks(when, "process_message", (message,), outcome)
    return {type(one) for one, _ in hooks}


def declare(broker, name="work", **options):
    dramatiq.actor(lambda: None, actor_name=name, broker=broker, **options)


def test_a_plain_message_calls_only_what_works_for_all(broker):
    declare(broker)

    assert called(broker, {}, when="before_") == BEFORE
    assert called(broker, {"tenant": "t"}, result=None) == ALWAYS


@pytest.mark.parametrize(
    ("option", "needed"),
    [
        ({"max_age": 5}, AgeLimit),
        ({"notify_shutdown": True}, ShutdownNotifications),
    ],
)
def test_an_option_calls_all_before(broker, option, needed):
    """Whether the actor has it or the message."""
    declare(broker)
    assert needed in called(broker, option, when="before_")

    declare(broker, "other", **option)
    assert needed in called(broker, {}, actor="other", when="before_")


@pytest.mark.parametrize(
    ("option", "needed"),
    [({"on_success": "other"}, Callbacks), ({"pipe_target": {}}, Pipelines)],
)
def test_a_message_with_a_follower_calls_all_after(broker, option, needed):
    declare(broker)

    assert needed in called(broker, option, result=None)


def test_a_failure_calls_all(broker):
    declare(broker)

    assert {Retries, Callbacks} <= called(broker, {}, exception=ValueError())


def test_a_default_of_the_middlewares_own_counts():
    broker = JetStreamBroker(middleware=[AgeLimit(max_age=1000)])
    declare(broker)

    assert called(broker, {}, when="before_") == {Cancelling, AgeLimit}


def test_a_subclass_is_always_called():
    """What it does nobody here knows."""

    class Mine(Retries):
        """A user's own."""

    broker = JetStreamBroker(middleware=[Mine()])
    declare(broker)

    assert called(broker, {}, result=None) == {Mine}


def test_order_is_kept_and_turned_round_after():
    class Hears(Middleware):
        def before_ack(self, broker, message):
            pass

        def after_ack(self, broker, message):
            pass

    first, second = Hears(), Hears()
    broker = JetStreamBroker(middleware=[first, second])

    before = [one for one, _ in broker._hooks("before_", "ack", (None,), {})]
    after = [one for one, _ in broker._hooks("after_", "ack", (None,), {})]

    assert before == [first, second]
    assert after == [second, first]
