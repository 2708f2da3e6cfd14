"""The one event loop behind a synchronous face, whatever the process forks into."""

import os
import threading
import weakref

from brokers.link import Link
from brokers.servers import ServerOptions


class Connection:
    """The process's link, opened at the first use; a forked child opens its own."""

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._link: Link | None = None
        _connections.add(self)

    def link(self) -> Link:
        """Return the running link; starts its thread, does not wait for a server."""
        if self._link is None:
            with self._lock:
                if self._link is None:
                    self._link = Link(self._options)
        return self._link

    def close(self) -> None:
        """Write what waits and disconnect; a later use connects again."""
        with self._lock:
            link, self._link = self._link, None
        if link is not None:
            link.close()

    def forget(self) -> None:
        """Start afresh in a forked child, where the parent's thread does not exist."""
        self._lock = threading.Lock()
        if self._link is not None:
            self._link.abandon()
            _inherited.append(self._link)
            self._link = None


#: Connections to reset in a forked child.
_connections: weakref.WeakSet[Connection] = weakref.WeakSet()
#: Links of the parent, kept so that no finalizer of theirs runs in the child.
_inherited: list[Link] = []


def _forget_all() -> None:
    for connection in list(_connections):
        connection.forget()


os.register_at_fork(after_in_child=_forget_all)
