"""A worker process that does nothing but take tokens; run by `test_limiter.py`.

Its arguments are URL, rate, burst, tokens and end; it prints a line
with the times before and after each take, by the clock that all processes share.
"""

import sys
import threading
import time

from hot_state.client import connect
from hot_state.limiter import Limiter
from models.limit import Bucket, Limit


def main(url: str, per_s: float, burst: float, tokens: float, until: float) -> None:
    """Take until then."""
    limiter = Limiter(connect(url), processes=4)
    buckets = [
        Bucket("system", Limit.of(1e6)),
        Bucket("tenant", Limit.of(1e6)),
        Bucket("config", Limit(per_s, burst)),
    ]
    while (asked := time.monotonic()) < until:
        wait_s = limiter.take(buckets, tokens)
        if wait_s:
            left_s = until - time.monotonic()
            threading.Event().wait(max(0.0, min(wait_s, left_s)))
        else:
            print(asked, time.monotonic(), flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:]))
