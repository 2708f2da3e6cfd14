"""Who must know what becomes of the connection."""

import weakref
from typing import Protocol


class Watcher(Protocol):
    """Whoever must know what becomes of the connection. Called on the loop."""

    def on_connected(self) -> None:
        """Take notice that requests sent before now may be lost."""

    def on_disconnected(self) -> None:
        """Take notice that no answer will come for now."""

    def on_tick(self) -> None:
        """Do what is due; called about once a second."""


class Watchers:
    """All watchers of a connection, for as long as they live."""

    def __init__(self) -> None:
        self._all: weakref.WeakSet[Watcher] = weakref.WeakSet()

    def add(self, watcher: Watcher) -> None:
        """Tell the watcher from now on."""
        self._all.add(watcher)

    def discard(self, watcher: Watcher) -> None:
        """Tell the watcher no more."""
        self._all.discard(watcher)

    def connected(self) -> None:
        """Tell all that the server is there."""
        for watcher in list(self._all):
            watcher.on_connected()

    def disconnected(self) -> None:
        """Tell all that the server is not there any more."""
        for watcher in list(self._all):
            watcher.on_disconnected()

    def tick(self) -> None:
        """Tell all that about a second has passed."""
        for watcher in list(self._all):
            watcher.on_tick()
