"""The leader is killed, and there are two."""

import threading
import time

from hot_state import keys
from hot_state.client import ask
from tests.chaos.batches import make_batch, queue, send_to_the_middle
from tests.chaos.house import House
from tests.chaos.verifier import verify


def test_another_leads_when_the_leader_is_killed(house: House) -> None:
    """The standby goes on within its lease; the dead one is not needed."""
    batch = make_batch(house)
    send_to_the_middle(house, batch)
    leader = house.leader()

    leader.kill()

    found = verify(house, batch)
    assert not leader.running
    assert house.leader() is not leader
    assert found.row["sent"] == batch.recipients


def test_two_leaders_change_nothing(house: House) -> None:
    """Without a lease both do every duty all the time: each step counts once."""
    batch = make_batch(house)
    ended = threading.Event()

    def remove_the_lease() -> None:
        while not ended.wait(0.01):
            ask(house.hot, "DEL", keys.lease("leader"))

    remover = threading.Thread(target=remove_the_lease)
    remover.start()
    try:
        queue(house, batch)
        found = verify(house, batch)
    finally:
        ended.set()
        remover.join()

    assert found.row["sent"] == batch.recipients


def test_a_scheduled_batch_starts_on_time(house: House) -> None:
    """Not before its time, and soon after it, though the leader was killed."""
    batch = make_batch(house)
    due_s = time.time() + 4

    queue(house, batch, at_s=due_s)
    house.leader().kill()

    found = verify(house, batch)
    assert found.calls[0].t >= due_s
    assert 0 <= found.row["started_at"].timestamp() - due_s < 2
