"""One house for all chaos tests; each begins with everything up and healthy."""

from collections.abc import Iterator

import pytest

from tests.chaos.house import House


@pytest.fixture(scope="session")
def built_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Servers and processes, started once."""
    house = House(tmp_path_factory.mktemp("house"))
    try:
        house.start()
        yield house
    finally:
        house.stop()


@pytest.fixture
def house(built_house: House) -> House:
    """The house, with everything that an earlier test killed up again."""
    built_house.heal()
    return built_house
