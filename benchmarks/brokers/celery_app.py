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


@app.task(name="noop")
def noop(job: int) -> None:
    """Do nothing but be counted."""
    _marks.done(job)


@app.task(name="stamp")
def stamp(job: int, sent_at: float) -> None:
    """Note how late it is."""
    _marks.begun(job, sent_at)


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
