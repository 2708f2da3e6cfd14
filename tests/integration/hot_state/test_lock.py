"""A lease has one owner, until it lapses or is let go."""

import pytest

from hot_state.lock import Lease
from models.errors import NeighbourUnavailableError


def test_only_one_holds_a_lease(client):
    """The owner renews it as often as it likes; the other waits."""
    mine, other = (Lease(client, "leader", ttl_s=60) for _ in range(2))

    assert mine.acquire()
    assert mine.acquire()
    assert not other.acquire()

    other.release()
    assert not other.acquire()
    mine.release()
    assert other.acquire()


def test_a_lease_lapses(client, wait_until):
    """A leader that was killed is followed by another."""
    mine, other = (Lease(client, "leader", ttl_s=ttl) for ttl in (0.05, 60))
    mine.acquire()

    wait_until(other.acquire, within_s=2)

    assert not mine.acquire()


def test_without_dragonfly_nobody_can_tell(mortal, connected):
    """The scheduler decides: leadership saves work, safety does not rest on it."""
    lease = Lease(connected(mortal)._client, "leader", ttl_s=60)
    mortal.kill()

    with pytest.raises(NeighbourUnavailableError):
        lease.acquire()
