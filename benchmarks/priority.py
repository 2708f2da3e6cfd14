"""Single messages while a batch keeps every worker busy, and while none does.

Timed from before the API is asked until the sink has the message: the caller's own
request, its rows, the queue, the worker and the provider call are all in it.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import quantiles
from typing import Any

import requests

from benchmarks.house import CONTENT, House
from benchmarks.report import show
from benchmarks.run import send, warm_up
from models.errors import BatchSenderError
from models.queries.api_keys import create_api_key

#: What a message that a person waits for may take, in ms.
PROMISED_P99_MS = 500.0
#: Messages a second, and how many are sent while nothing else is.
PACE_PER_S = 20.0
_IDLE = 100
_ARRIVED_S = 30.0


class Messages:
    """Messages that were asked for.

    Attributes:
        asked_at: When, in seconds since 1970, by their id.
    """

    def __init__(self, house: House) -> None:
        """Open a session with a key of the house's tenant."""
        self.house = house
        self.asked_at: dict[str, float] = {}
        with house.database.transaction() as connection:
            key = create_api_key(connection, house.tenant, "bench")
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {key}"

    def send(self) -> None:
        """Ask for one message."""
        number = len(self.asked_at)
        body = {
            "sendConfig": "sink",
            "to": f"person{number}@example.com",
            "variables": {"name": f"Name {number}", "code": f"C{number}"},
            "payload": CONTENT,
        }
        asked_at = time.time()
        answer = self._session.post(
            f"{self.house.web_url}/api/messages", json=body, timeout=60
        )
        if answer.status_code != 202:
            raise BatchSenderError(f"A message was refused: {answer.text}")
        self.asked_at[answer.json()["id"]] = asked_at

    def waits_ms(self) -> list[float]:
        """Return what each took until the sink had it, once all are there.

        Raises:
            BatchSenderError: One was lost or came twice.
        """
        deadline = time.monotonic() + _ARRIVED_S
        while time.monotonic() < deadline:
            calls = [
                c for c in self.house.read_sink().calls if c.batch in self.asked_at
            ]
            if len(calls) >= len(self.asked_at):
                break
            time.sleep(0.2)
        if sorted(call.batch for call in calls) != sorted(self.asked_at):
            raise BatchSenderError("A message was lost, or came twice.")
        return [(call.t - self.asked_at[call.batch]) * 1000 for call in calls]


@contextmanager
def at_a_pace(messages: Messages) -> Iterator[None]:
    """Send one after the other for as long as the caller is busy."""
    over = threading.Event()
    failed: list[Exception] = []

    def go_on() -> None:
        try:
            while not over.wait(1 / PACE_PER_S):
                messages.send()
        except (BatchSenderError, requests.RequestException) as error:
            failed.append(error)

    thread = threading.Thread(target=go_on, name="messages")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise BatchSenderError("The API took no message.") from failed[0]


def beside_a_batch(house: House, recipients: int) -> dict[str, Any]:
    """Measure a batch alone, messages alone, and both together; print a table."""
    for name in ("priority", "web"):
        house.start_ours(name)
    warm_up(house)
    Messages(house).send()
    alone = send(house, recipients, f"{recipients:,} recipients alone")
    idle = Messages(house)
    for _ in range(_IDLE):
        idle.send()
        time.sleep(1 / PACE_PER_S)
    busy = Messages(house)
    with at_a_pace(busy):
        beside = send(house, recipients, f"{recipients:,} beside messages")
    calm, loaded = _spread(idle.waits_ms()), _spread(busy.waits_ms())
    _show(calm, loaded, beside.per_s)
    return {
        "priority": {
            "idle": calm,
            "beside_a_batch": loaded,
            "p99_ratio": round(loaded["p99_ms"] / calm["p99_ms"], 2),
            "kept": loaded["p99_ms"] < PROMISED_P99_MS,
        },
        "recipients_per_s": {
            "alone": round(alone.per_s),
            "beside": round(beside.per_s),
        },
        "lost": alone.lost + beside.lost,
        "repeated": alone.repeated + beside.repeated,
    }


def _spread(waits_ms: Sequence[float]) -> dict[str, float]:
    parts = quantiles(waits_ms, n=100, method="inclusive")
    return {
        "messages": len(waits_ms),
        "p50_ms": round(parts[49], 1),
        "p99_ms": round(parts[98], 1),
        "longest_ms": round(max(waits_ms), 1),
    }


def _show(
    idle: Mapping[str, float], beside: Mapping[str, float], batch_per_s: float
) -> None:
    names = {
        "messages": "messages",
        "p50_ms": "p50 ms",
        "p99_ms": "p99 ms",
        "longest_ms": "longest ms",
    }
    show(
        "Single messages, from the request to the sink",
        ("", "idle", "beside a batch"),
        [(told, idle[name], beside[name]) for name, told in names.items()]
        + [("batch, recipients a second", "-", batch_per_s)],
    )
