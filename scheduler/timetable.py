"""When each duty is done."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from models.errors import BatchSenderError
from scheduler.deeds import Noted, noted
from scheduler.leader import Leader
from telemetry import DUTY_FAILURES, DUTY_SECONDS

log = logging.getLogger("batchsender.timetable")


#: Seconds until a duty is done again that asked for it.
SOON_S = 0.25


@dataclass(frozen=True, slots=True)
class Round:
    """What a round of a duty asks for; a duty may also return anything else.

    Attributes:
        again: More of the same is to come: it is done again soon.
        wakes: The names of duties that have something to do now.
    """

    again: bool = False
    wakes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Duty:
    """Something the leader does again and again.

    Attributes:
        name: What the log calls it.
        every_s: The longest time between two starts, in seconds; a start that would
            overlap is left out.
        do: The duty; a second time it finds less to do, or nothing.
    """

    name: str
    every_s: float
    do: Callable[[], object]


#: Writes down what a duty did, by its name.
Record = Callable[[str, Sequence[Noted]], None]


def _unrecorded(_duty: str, _deeds: Sequence[Noted]) -> None:
    """Write nothing down."""


def timetable(
    leader: Leader, duties: list[Duty], *, record: Record = _unrecorded
) -> BackgroundScheduler:
    """Return a scheduler that does these duties while this process leads.

    What they note as their deeds is recorded after each round.
    """
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
            args=(scheduler, leader, duty, record),
            id=duty.name,
        )
    return scheduler


def _led(
    scheduler: BackgroundScheduler, leader: Leader, duty: Duty, record: Record
) -> None:
    """Do a duty if we lead; whatever goes wrong, the next round tries again."""
    try:
        if leader.leads():
            _asked(scheduler, duty, _done(duty, record))
    except BatchSenderError as error:
        DUTY_FAILURES.labels(duty.name).inc()
        log.warning("%s waits for its next round: %s", duty.name, error)
    except Exception:
        DUTY_FAILURES.labels(duty.name).inc()
        log.exception("%s failed; its next round tries again.", duty.name)


def _done(duty: Duty, record: Record) -> object:
    """Do a duty, and record what it did before it ended or failed."""
    with DUTY_SECONDS.labels(duty.name).time(), noted() as deeds:
        try:
            return duty.do()
        finally:
            if deeds:
                record(duty.name, deeds)


def _asked(scheduler: BackgroundScheduler, duty: Duty, found: object) -> None:
    """Bring forward what the round asked for."""
    if not isinstance(found, Round):
        return
    now = datetime.now(UTC)
    if found.again:
        soon = now + timedelta(seconds=min(SOON_S, duty.every_s))
        scheduler.modify_job(duty.name, next_run_time=soon)
    for name in found.wakes:
        scheduler.modify_job(name, next_run_time=now)
