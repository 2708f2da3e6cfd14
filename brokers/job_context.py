"""Which job a log line belongs to.

Adds nothing to a message's way where it is not added to the broker.
"""

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware

from brokers.delivery import delivery_of

_NO_JOB: Mapping[str, Any] = MappingProxyType({})
_job: ContextVar[Mapping[str, Any]] = ContextVar("job", default=_NO_JOB)

#: The names of what a line is given.
FIELDS = ("message_id", "actor", "queue", "tenant", "deliveries")


def job_fields() -> Mapping[str, Any]:
    """Return the job at hand by `FIELDS`; empty outside of one.

    `tenant` is missing where the message has none, `deliveries` where another broker
    delivered it. Coroutines that a job starts inherit it, threads do not.
    """
    return _job.get()


class JobContext(Middleware):
    """Lets `job_fields` tell the job, from its first hook until it is settled."""

    def after_worker_thread_boot(self, broker: Broker, thread: Any) -> None:
        """Surround the thread's work on each message."""
        process = thread.process_message

        def process_message(message: MessageProxy) -> None:
            _job.set(_fields(message))
            process(message)
            # Where something was raised the fields stay: who catches it outside of
            # here logs it next, and the thread's next job sets them anew.
            _job.set(_NO_JOB)

        thread.process_message = process_message


class JobFilter(logging.Filter):
    """Gives every record the job's fields as attributes; `""` outside of a job.

    For handlers whose format names them, such as `%(actor)s %(message_id)s`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; no record is held back."""
        job = _job.get()
        for name in FIELDS:
            setattr(record, name, job.get(name, ""))
        return True


def _fields(message: MessageProxy) -> Mapping[str, Any]:
    fields: dict[str, Any] = {
        "message_id": message.message_id,
        "actor": message.actor_name,
        "queue": message.queue_name,
    }
    if tenant := message.options.get("tenant"):
        fields["tenant"] = tenant
    if delivery := delivery_of(message):
        fields["deliveries"] = delivery.deliveries
    return fields
