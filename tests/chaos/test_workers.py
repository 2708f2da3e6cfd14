"""Workers are killed and stopped in the middle of a batch."""

from tests.chaos.house import House
from tests.chaos.verifier import verify


def test_a_batch_without_faults_leaves_no_doubt(house: House) -> None:
    """Everybody is sent, once; the verifier finds nothing."""
    batch = house.batch()

    house.send_to_the_middle(batch)

    found = verify(house, batch)
    assert found.row["sent"] == batch.recipients


def test_a_killed_worker_repeats_nobody(house: House) -> None:
    """Without keys, `at_most_once`: who was in call is unknown, the others are sent."""
    batch = house.batch()
    house.send_to_the_middle(batch)

    with house.fault() as fault:
        house.kill_worker("worker-1")
    house.heal()

    found = verify(house, batch, faults=[fault])
    assert found.row["sent"] + found.row["unknown"] == batch.recipients
    assert found.row["unknown"] > 0
