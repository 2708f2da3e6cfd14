"""The doors of a leader, to real servers."""

import pytest

from hot_state.client import connect
from hot_state.outcomes import Outcomes
from models.timing import Timing
from tests.factories import make_config


@pytest.fixture
def hot_state(dragonfly_url):
    """Dragonfly with nothing in it."""
    with connect(dragonfly_url) as client:
        client.flushall()
        yield client


@pytest.fixture
def outcomes(hot_state):
    return Outcomes(hot_state)


@pytest.fixture
def away():
    """A Dragonfly that is not there."""
    with connect("redis://127.0.0.1:9/0", timeout_s=0.2) as client:
        yield client


@pytest.fixture
def timing():
    return Timing()


@pytest.fixture
def config(ledger_database):
    return make_config(ledger_database)
