"""Bodies that come slowly must not keep all threads: who sends them has half of them.

The server hands us a request when its head is there, so that a thread waits for the
rest. Nobody can end that wait; so it is bounded how many wait for one sender.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from webhook_app.budget import SlowDownError
from webhook_app.requests import body_of

#: So many bodies of one sender are read at once; half of the threads we are run with.
MAX_READS = 16
#: How long another one waits for its turn, which usually comes within milliseconds.
PATIENCE_S = 0.25
_PAUSE_S = 0.005


class Reading:
    """Reads bodies, a few of each sender at once; any number of threads.

    Args:
        read: Reads one.
    """

    def __init__(self, read: Callable[[Mapping[str, Any]], bytes] = body_of) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._under_way: dict[str, int] = {}

    def body(self, environ: Mapping[str, Any], source: str) -> bytes:
        """Return the body of a request, as `body_of` does.

        Raises:
            SlowDownError: Too many of this source's are under way, and come slowly.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not self._begins(source):
            if time.monotonic() > deadline:
                raise SlowDownError("Too many reports come too slowly.", 1)
            time.sleep(_PAUSE_S)
        try:
            return self._read(environ)
        finally:
            self._ends(source)

    def _begins(self, source: str) -> bool:
        with self._lock:
            count = self._under_way.get(source, 0)
            if count >= MAX_READS:
                return False
            self._under_way[source] = count + 1
            return True

    def _ends(self, source: str) -> None:
        with self._lock:
            count = self._under_way.pop(source) - 1
            if count:
                self._under_way[source] = count
