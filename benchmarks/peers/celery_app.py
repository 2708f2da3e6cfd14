"""The Celery application: late acknowledgement, orjson, no results."""

import os
from typing import Any

import orjson
from celery import Celery
from kombu.serialization import register

from benchmarks.peers.work import deliver

register(
    "orjson",
    lambda value: orjson.dumps(value).decode(),
    orjson.loads,
    content_type="application/x-orjson",
    content_encoding="utf-8",
)

app = Celery("peers", broker=os.environ["DRAGONFLY_URL"])
app.conf.update(
    task_serializer="orjson",
    accept_content=["orjson"],
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=4,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)


#: Sends to up to a task's size of recipients.
send = app.task(name="send")(deliver)


def enqueue(*arguments: Any) -> None:
    """Put one task into the queue."""
    send.delay(*arguments)
