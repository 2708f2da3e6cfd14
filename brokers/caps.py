"""Which tenants stand at their cap, so that they are asked again when there is room.

The server keeps the cap. What is noted here saves asking in vain, and tells at once
when a message of ours makes room; that another process made room, the next look finds.
"""

from collections.abc import Iterator

from brokers.delivery import Delivery
from brokers.turns import Key


class Caps:
    """The messages of tenants with a cap that are in our hands."""

    def __init__(self) -> None:
        self._ours: dict[Key, list[Delivery]] = {}
        self._full: set[Key] = set()

    def took(self, key: Key, delivery: Delivery) -> None:
        """Note a message of a tenant that has a cap."""
        self._ours.setdefault(key, []).append(delivery)

    def room(self, key: Key, cap: int) -> int:
        """Return how many more we may have, as far as we know.

        Where it is none, `freed` tells when that changes.
        """
        held = [one for one in self._ours.get(key, ()) if not one.settled]
        if held:
            self._ours[key] = held
        else:
            self._ours.pop(key, None)
        room = max(0, cap - len(held))
        if not room:
            self._full.add(key)
        return room

    def refused(self, key: Key) -> None:
        """Note that the server gave less than we asked for, though there is more."""
        ours = self._ours.get(key)
        if ours and ours[-1].pending:
            self._full.add(key)

    def freed(self) -> Iterator[Key]:
        """Return those at their cap that a settled message of ours made room for."""
        if not self._full:
            return
        for key in list(self._full):
            ours = self._ours.get(key, [])
            if not ours or any(one.settled for one in ours):
                self._full.discard(key)
                yield key

    def clear(self) -> None:
        """Forget all: nobody is known to be full any more."""
        self._full.clear()
