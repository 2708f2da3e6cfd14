"""Real servers for every test that asks for one, on private ports.

A server starts when the first test asks for it and ends with the session.
"""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

from embedded.stack import Stack

# A busy machine is no defect of what is tested.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


class InOrder(LoadScopeScheduling):
    """What stays in one process where two share the tests (`make test`).

    A file's tests share its fixtures. Those that kill servers load the machine by
    themselves: they follow one another.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "chaos" if file.startswith("tests/chaos/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(
    config: pytest.Config, log: Producer
) -> LoadScopeScheduling:
    """Share the tests in their own way, whatever `--dist` says."""
    return InOrder(config, log)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for the session; nothing runs in it until a test asks."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    yield stack
    stack.stop()


@pytest.fixture
def database_url(stack: Stack) -> str:
    """PostgreSQL, shared by the session."""
    stack.postgres.start()
    return stack.postgres.url


@pytest.fixture
def nats_url(stack: Stack) -> str:
    """NATS with JetStream, shared by the session."""
    stack.nats.start()
    return stack.nats.url


@pytest.fixture
def dragonfly_url(stack: Stack) -> str:
    """Valkey in Dragonfly's place, shared by the session."""
    stack.dragonfly.start()
    return stack.dragonfly.url


@pytest.fixture
def clickhouse_url(stack: Stack) -> str:
    """ClickHouse, shared by the session."""
    stack.clickhouse.start()
    return stack.clickhouse.url
