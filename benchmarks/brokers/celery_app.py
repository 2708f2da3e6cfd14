"""The same two tasks on Celery: acknowledged late, no results."""

import os
from collections.abc import Sequence

from celery import Celery

from benchmarks.brokers.marks import of_this_process

app = Celery("bench", broker=os.environ["BENCH_URL"])
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)
_marks = of_this_process()


def _noop(job: int) -> None:
    _marks.done(job)


def _stamp(job: int, sent_at: float) -> None:
    _marks.begun(job, sent_at)


#: Does nothing but be counted; and notes how late it is.
noop = app.task(name="noop")(_noop)
stamp = app.task(name="stamp")(_stamp)


def enqueue(job: int) -> None:
    """Put one job into the queue, and return once the broker has it."""
    noop.delay(job)


def enqueue_stamp(job: int, sent_at: float) -> None:
    """Put one job into the queue that notes how late it is."""
    stamp.delay(job, sent_at)


def enqueue_all(jobs: Sequence[int]) -> None:
    """Put many jobs into the queue as fast as Celery's interface allows."""
    for job in jobs:
        noop.delay(job)
