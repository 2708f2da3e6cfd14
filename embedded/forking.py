"""Children are started by one thread that lives as long as the process.

The kernel sends a child's signal on its parent's death (see `leash.py`) when the
*thread* that started it ends, and a caller's thread may be a short one.
"""

import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from queue import SimpleQueue

_Child = subprocess.Popen[bytes]
_Call = tuple[Callable[[], _Child], Future[_Child]]


def forked(start: Callable[[], _Child]) -> _Child:
    """Return what `start` returns, called in the thread that never ends.

    Raises:
        OSError: What `start` raised.
    """
    answer: Future[_Child] = Future()
    _calls().put((start, answer))
    return answer.result()


@cache
def _calls() -> SimpleQueue[_Call]:
    calls: SimpleQueue[_Call] = SimpleQueue()
    threading.Thread(target=_serve, args=(calls,), name="forking", daemon=True).start()
    return calls


def _serve(calls: SimpleQueue[_Call]) -> None:
    while True:
        start, answer = calls.get()
        try:
            answer.set_result(start())
        except OSError as error:
            answer.set_exception(error)
