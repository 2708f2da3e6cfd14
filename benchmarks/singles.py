"""One recipient a call: what concurrency gives, and what a message costs.

The sink answers after 50 ms, so that calls have to go out side by side. One worker
process makes as many at once as `MAX_CONCURRENT_EMAILS` says: 25 here, so that the
provider and not the processor is what is waited for.
"""

import os
from collections.abc import Sequence
from statistics import linear_regression
from typing import Any

import requests

from benchmarks import report
from benchmarks.house import House
from benchmarks.run import send, warm_up

LATENCY_MS = 50
AT_ONCE = 25
#: Until groups of all threads are under way.
_BEGINNING_S = 2.0


def one_a_call(house: House, recipients: int) -> dict[str, Any]:
    """Send a batch, and compare the calls of a second with those that there can be."""
    os.environ |= {"WORKER_PROCESSES": "1", "MAX_CONCURRENT_EMAILS": str(AT_ONCE)}
    house.start_senders()
    warm_up(house)
    slow = {"latencyMs": LATENCY_MS}
    requests.post(f"{house.sink_url}control", json=slow, timeout=5)
    calls_before = len(house.read_sink().calls)
    run = send(house, recipients, f"{recipients:,} calls of one")
    times = sorted(call.t for call in house.read_sink().calls[calls_before:])
    allowed_per_s = AT_ONCE * 1000 / LATENCY_MS
    told = report.figures(run, house.chunk) | {
        "calls_per_s": round(rate_per_s(times), 1),
        "allowed_per_s": allowed_per_s,
        "share": round(rate_per_s(times) / allowed_per_s, 3),
    }
    report.show_run(told)
    report.show(
        f"One recipient a call, answered after {LATENCY_MS} ms, {AT_ONCE} at once",
        ("", ""),
        [
            ("calls a second", told["calls_per_s"]),
            ("that concurrency allows", allowed_per_s),
            ("share", told["share"]),
            ("µs CPU a message, our worker", told["us_per_recipient"]["worker"]),
            ("µs CPU a message, all processes", told["us_per_recipient"]["total"]),
        ],
    )
    return told


def rate_per_s(times: Sequence[float]) -> float:
    """Return the calls of a second once all is under way, from when each began."""
    steady = [at for at in times if at > times[0] + _BEGINNING_S]
    return linear_regression(steady, range(len(steady))).slope
