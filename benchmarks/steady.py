"""Batch after batch for some time: does the rate hold, and is memory flat?"""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from benchmarks.house import House
from benchmarks.meters import Meter, per_recipient_us
from benchmarks.report import show
from benchmarks.run import balance, follow
from models.status import OUTCOMES

#: Batches under way or waiting, so that the pipeline never runs dry.
_AHEAD = 2
_TELL_EVERY_S = 10.0
_ASK_EVERY_S = 0.5


def steady(
    house: House, recipients: int, seconds: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Keep sending for so long; returns the fields of the last line.

    The rate includes making the batches, which goes on beside their sending.
    """
    with Meter(house.processes) as meter:
        began = time.perf_counter()
        batches, rates = _sent_until(house, recipients, began + seconds, say)
        for batch_id in batches:
            follow(house, batch_id, lambda _: None)
        took_s = time.perf_counter() - began
        cpu_s = meter.cpu_s()
        meter.look()
    balances = [balance(house, batch_id, house.batch(batch_id)) for batch_id in batches]
    everybody = recipients * len(batches)
    memory = {
        name: {
            "first": round(seen.first, 1),
            "last": round(seen.last, 1),
            "max": round(seen.largest, 1),
        }
        for name, seen in meter.memory.items()
    }
    show(
        "Memory in MB",
        ("process", "first", "last", "largest"),
        [(name, *figures.values()) for name, figures in memory.items()],
    )
    return {
        "recipients": everybody,
        "batches": len(batches),
        "chunk": house.chunk,
        "seconds": round(took_s, 1),
        "recipients_per_s": round(everybody / took_s),
        "recipients_per_s_by_10_s": rates,
        "lost": sum(lost for lost, _ in balances),
        "repeated": sum(repeated for _, repeated in balances),
        "us_per_recipient": per_recipient_us(cpu_s, everybody),
        "rss_mb": memory,
    }


def _sent_until(
    house: House, recipients: int, ends_at: float, say: Callable[[str], None]
) -> tuple[list[UUID], list[int]]:
    batches: list[UUID] = []
    rates: list[int] = []
    told_at, told = time.perf_counter(), 0
    while (now := time.perf_counter()) < ends_at:
        rows = [house.batch(batch_id) for batch_id in batches]
        if sum(row["finished_at"] is None for row in rows) < _AHEAD:
            batches.append(house.fill(recipients))
            house.queue(batches[-1])
        through = sum(row[str(name)] for row in rows for name in OUTCOMES)
        if now - told_at >= _TELL_EVERY_S:
            rates.append(round((through - told) / (now - told_at)))
            say(f"{rates[-1]:>10,} recipients/s, {through:,} so far")
            told_at, told = now, through
        time.sleep(_ASK_EVERY_S)
    return batches, rates
