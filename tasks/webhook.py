"""Station 12: what providers report later, as steps forward of recipients.

A report names its batch and seq, which travelled with the message. Statuses only move
up in rank and counters move with them in one statement, so a report that comes twice,
late or before our own outcome changes nothing wrongly.
"""

import logging
from uuid import UUID

from models.jobs import RecordWebhook
from models.queries import reports
from models.status import RecipientStatus
from tasks.worker import Worker
from telemetry import REPORTED_RECIPIENTS

log = logging.getLogger("batchsender.webhook")

#: The statuses that a custom endpoint may report.
_REPORTED = frozenset(
    {
        RecipientStatus.SENT,
        RecipientStatus.DELIVERED,
        RecipientStatus.OPENED,
        RecipientStatus.CLICKED,
        RecipientStatus.BOUNCED,
        RecipientStatus.COMPLAINED,
        RecipientStatus.FAILED,
    }
)


def record(worker: Worker, job: RecordWebhook) -> bool:
    """Move one recipient forward; tell whether it moved.

    A report that names nobody of ours is logged and dropped: it will never mean more.
    """
    try:
        status = RecipientStatus(job.event)
        batch_id = UUID(str(job.body["batch"]))
        seq = int(job.body["seq"])
    except (KeyError, TypeError, ValueError):
        log.warning("A %s report names no recipient: dropped.", job.provider)
        return False
    if status not in _REPORTED:
        log.warning("A %s report of %s is not taken.", job.provider, status)
        return False
    message_id = job.body.get("id")
    with worker.database.transaction() as connection:
        moved = reports.move_recipient(
            connection,
            batch_id,
            seq,
            status=status,
            provider_message_id=str(message_id) if message_id else None,
        )
    if moved:
        REPORTED_RECIPIENTS.labels(job.provider, str(status)).inc()
    return moved
