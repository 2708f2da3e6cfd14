"""When each duty is done."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from models.errors import BatchSenderError
from scheduler.leader import Leader

log = logging.getLogger("batchsender.timetable")


@dataclass(frozen=True, slots=True)
class Duty:
    """Something the leader does again and again.

    Attributes:
        name: What the log calls it.
        every_s: Seconds between two starts; a start that would overlap is left out.
        do: The duty; a second time it finds less to do, or nothing.
    """

    name: str
    every_s: float
    do: Callable[[], object]


def timetable(leader: Leader, duties: list[Duty]) -> BackgroundScheduler:
    """Return a scheduler that does these duties while this process leads."""
    scheduler = BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(len(duties))},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        timezone="UTC",
    )
    for duty in duties:
        scheduler.add_job(
            _led,
            "interval",
            seconds=duty.every_s,
            args=(leader, duty),
            id=duty.name,
        )
    return scheduler


def _led(leader: Leader, duty: Duty) -> None:
    """Do a duty if we lead; whatever goes wrong, the next round tries again."""
    try:
        if leader.leads():
            duty.do()
    except BatchSenderError as error:
        log.warning("%s waits for its next round: %s", duty.name, error)
    except Exception:
        log.exception("%s failed; its next round tries again.", duty.name)
