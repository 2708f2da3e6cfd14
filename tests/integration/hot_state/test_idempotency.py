"""The usual redelivery is skipped; whatever is not known goes on to the ledger."""

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import SkipMessage

from middleware.idempotency import Idempotency
from models.outcome import Outcome

RANGE = {"batch_id": "b", "first": 0, "size": 2}


@pytest.fixture
def ask():
    """Give what the middleware does to a message of an actor; true is *skipped*."""

    def asked(middleware, kwargs, **options) -> bool:
        broker = StubBroker(middleware=[middleware])
        actor = dramatiq.actor(
            lambda **_: None, actor_name="send", broker=broker, **options
        )
        proxy = dramatiq.MessageProxy(actor.message_with_options(kwargs=kwargs))
        try:
            middleware.before_process_message(broker, proxy)
        except SkipMessage:
            return True
        return False

    return asked


def test_a_chunk_in_which_everybody_is_final_is_skipped(outcomes, ask):
    """Its message is acked without a word to Postgres."""
    middleware = Idempotency(outcomes)

    outcomes.record("b", 0, 1, 0, 2, Outcome(sent=0b01))
    assert not ask(middleware, RANGE, skip_if_final=True)

    outcomes.record("b", 0, 1, 0, 2, Outcome(unknown=0b10))
    assert ask(middleware, RANGE, skip_if_final=True)
    assert not ask(middleware, RANGE)
    assert not ask(middleware, RANGE, skip_if_final=False)


def test_a_first_delivery_is_not_asked_about(outcomes, ask):
    """Nearly all messages are first deliveries; they pay nothing."""
    outcomes.record("b", 0, 1, 0, 2, Outcome(sent=0b11))

    for deliveries, skipped in [(1, False), (2, True)]:
        middleware = Idempotency(outcomes, deliveries=lambda n=deliveries: n)
        assert ask(middleware, RANGE, skip_if_final=True) == skipped


@pytest.mark.parametrize(
    "kwargs", [{}, {"batch_id": "b"}, RANGE | {"size": None}, RANGE | {"first": "0"}]
)
def test_a_message_without_a_range_passes(outcomes, ask, kwargs):
    """What we do not understand is not ours to skip."""
    assert not ask(Idempotency(outcomes), kwargs, skip_if_final=True)


def test_an_unknown_actor_is_not_our_error(outcomes):
    """The worker reports it; the hook must not raise before it."""
    message = dramatiq.Message("q", "gone", (), RANGE, {})

    Idempotency(outcomes).before_process_message(
        StubBroker(middleware=[]), dramatiq.MessageProxy(message)
    )


def test_without_dragonfly_the_ledger_decides(mortal, connected, ask):
    """Away or empty: the job runs, and no error leaves the hook."""
    outcomes = connected(mortal)
    outcomes.record("b", 0, 1, 0, 2, Outcome(sent=0b11))
    middleware = Idempotency(outcomes)
    assert ask(middleware, RANGE, skip_if_final=True)

    mortal.kill()
    assert not ask(middleware, RANGE, skip_if_final=True)

    mortal.wipe()
    mortal.start()
    assert not ask(middleware, RANGE, skip_if_final=True)
