"""A batched actor's options, which need no server."""

import dramatiq
import pytest

from brokers import JetStreamBroker


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": "5"},
        {"batch_size": None},
        {"batch_size": 5, "batch_wait_ms": 0},
        {"batch_wait_ms": 5},
        {"batch_key": "tenant"},
    ],
)
def test_options_without_sense_are_refused_at_once(options):
    broker = JetStreamBroker(middleware=[])

    with pytest.raises(ValueError, match="Actor gather"):
        dramatiq.actor(actor_name="gather", broker=broker, **options)(print)

    assert broker.get_declared_actors() == set()
