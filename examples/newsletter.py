"""A newsletter on `JetStreamBroker`: NATS is the only server that it needs.

Start a worker and send an issue, each in a terminal of its own, in any order:

    dramatiq examples.newsletter
    python -m examples.newsletter

`NATS_URL` says where the server is. Mails are lines in a file, `OUTBOX`.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import dramatiq
from dramatiq import group
from dramatiq.middleware import CurrentMessage, GroupCallbacks
from dramatiq.rate_limits import WindowRateLimiter
from dramatiq.results import Results

from brokers import (
    BatchedMessage,
    JetStreamBroker,
    current_delivery,
    is_duplicate,
    rate_limits,
    results,
)

OUTBOX = Path(os.environ.get("OUTBOX", "outbox.txt"))
ISSUE = "december"
READERS = [f"reader{n}@example.org" for n in range(1, 61)]
#: How long the sender waits for a result, in milliseconds.
PATIENCE_MS = 60_000

broker = JetStreamBroker(
    os.environ.get("NATS_URL", "nats://127.0.0.1:4222"),
    namespace="newsletter",
    max_priority=1,
    max_deliveries=3,
)
counts = rate_limits.JetStreamBackend(broker)
broker.add_middleware(Results(backend=results.JetStreamBackend(broker)))
broker.add_middleware(GroupCallbacks(counts))
broker.add_middleware(CurrentMessage())
# Actors find the broker and its options here, so this comes before the first of them.
dramatiq.set_broker(broker)

#: The partner takes five calls in a second, from all workers together.
partner = WindowRateLimiter(counts, "partner", limit=5, window=1)


class MailServerBusyError(Exception):
    """What a mail server says that will take the same mail a moment later."""


@dramatiq.actor(queue_name="mail", max_retries=5, min_backoff=200, store_results=True)
def deliver(issue: str, address: str) -> float:
    """Mail an issue to a reader; every tenth mail server is busy the first time."""
    message = CurrentMessage.get_current_message()
    is_retry = message is not None and "retries" in message.options
    if address.endswith("0@example.org") and not is_retry:
        raise MailServerBusyError(address)
    return mail(f"{issue} to {address}")


@dramatiq.actor(queue_name="mail", broker_priority=1, store_results=True)
def reset_password(address: str) -> float:
    """Mail what somebody waits for: before all newsletters, however many there are."""
    return mail(f"new password to {address}")


@dramatiq.actor(queue_name="mail", store_results=True)
def remind(address: str) -> float:
    """Remind a reader of something; when, its sender says."""
    return mail(f"reminder to {address}")


@dramatiq.actor(queue_name="mail")
def thank_the_author(issue: str) -> None:
    """Mail the author, once all readers have the issue."""
    mail(f"{issue} is out, to the author")


@dramatiq.actor(queue_name="opens", batch_size=50, batch_wait_ms=300)
def record_opens(messages: list[BatchedMessage]) -> None:
    """Write down who opened the issue: one write for many messages.

    What is no address fails alone, and is a dead letter at once.
    """
    good = [one for one in messages if "@" in one.args[0]]
    write(f"{len(good)} opens")
    for one in messages:
        if one not in good:
            one.options["max_retries"] = 0
            one.fail(ValueError("This is no address."))


@dramatiq.actor(queue_name="partner")
def tell_the_partner(address: str) -> None:
    """Call a partner, or wait for our turn: that costs no retry."""
    with partner.acquire(raise_on_failure=False) as may_call:
        delivery = current_delivery()
        if not may_call and delivery is not None:
            delivery.postpone(0.2)
            return
    write(f"partner knows {address}")


@dramatiq.actor(queue_name="reports", unique_for=600_000)
def count_readers(issue: str) -> None:
    """Count the readers of an issue: pointless twice at a time."""
    write(f"{issue} has {len(READERS)} readers")


def mail(text: str) -> float:
    """Mail a text; return when, in seconds since 1970."""
    write(text)
    return time.time()


def write(line: str) -> None:
    """Append a line to the outbox; short ones from many processes do not mix."""
    with OUTBOX.open("a", encoding="utf-8") as outbox:
        outbox.write(f"{line}\n")


def send_issue() -> list[str]:
    """Send an issue with all that belongs to it; return what became of it."""
    began = time.time()
    reminder = remind.send_with_options(args=(READERS[0],), delay=2_000)

    readers = group([deliver.message(ISSUE, address) for address in READERS])
    readers.add_completion_callback(thank_the_author.message(ISSUE))
    readers.run()
    password = reset_password.send(READERS[-1])

    # Its messages have one address each, its function gets a list of messages.
    opens = [(one,) for one in [*READERS, "nobody"]]
    broker.enqueue_many([record_opens.message_with_options(args=one) for one in opens])
    broker.enqueue_many([tell_the_partner.message(one) for one in READERS[:8]])
    reports = [count_readers.send(ISSUE) for _ in range(3)]

    sent = list(readers.get_results(block=True, timeout=PATIENCE_MS))
    reset_at: Any = password.get_result(block=True, timeout=PATIENCE_MS)
    reminded_at: Any = reminder.get_result(block=True, timeout=PATIENCE_MS)
    for queue in ("mail", "opens", "partner", "reports"):
        broker.join(queue, timeout=PATIENCE_MS)
    letters = list(broker.dead_letters("opens"))
    return [
        f"{len(sent)} readers have the issue",
        f"the password was sent before {sum(reset_at < at for at in sent)} of them",
        f"the reminder was sent {reminded_at - began:.1f} s after it was enqueued",
        f"{sum(map(is_duplicate, reports))} of 3 reports were there already",
        f"{len(letters)} dead letter: {letters[-1].error if letters else 'none'}",
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join([*send_issue(), ""]))
    broker.close()
