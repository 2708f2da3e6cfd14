"""The power goes out."""

from tests.chaos.batches import make_batch, send_to_the_middle
from tests.chaos.house import House
from tests.chaos.verifier import verify


def test_everything_is_killed_at_once(house: House) -> None:
    """All servers and processes die; who was in call is unknown, the rest is sent."""
    batch = make_batch(house)
    send_to_the_middle(house, batch)

    with house.fault() as fault:
        house.kill_all()
    house.heal()

    found = verify(house, batch, faults=[fault])
    assert found.row["sent"] + found.row["unknown"] == batch.recipients


def test_everything_is_killed_at_once_with_keys(house: House) -> None:
    """With keys the same ends with everybody sent, and nobody twice."""
    batch = make_batch(house, keyed=True)
    send_to_the_middle(house, batch)

    house.kill_all()
    house.heal()

    found = verify(house, batch)
    assert found.row["sent"] == batch.recipients
