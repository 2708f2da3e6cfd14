"""Station 12: what providers report later, as steps forward of recipients.

Many reports are taken at once. What was taken already is left out; who is not named
is looked up; one statement moves recipients, counters and rates; who must not be
written to again goes on the tenant's list; a config with too many of those is stopped.
Then the events are logged, and only then the reports count as taken.

A step more than once does no harm: statuses only move up in rank and counters move
with them. So a process that dies anywhere leaves its reports in their stream, and the
next one takes them anew.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import Connection

from analytics.message_index import Place
from analytics.reported import ReportedEvent
from brokers import BatchedMessage
from hot_state.seen import Seen
from models.brake import BrakeRule
from models.database import Database
from models.errors import NeighbourUnavailableError
from models.jobs import RecordWebhook, job_of
from models.outcome import Hold
from models.outgoing import Noted
from models.queries.braking import recent_rates
from models.queries.holding import hold_config
from models.queries.outbox import note_events
from models.queries.reports import (
    Moved,
    Unwanted,
    move_recipients,
    suppress_reported,
)
from models.report import Report
from models.status import RecipientStatus
from providers.reports import keys_of, report_of
from telemetry import BRAKES, REPORTED_RECIPIENTS, REPORTS

log = logging.getLogger("batchsender.webhook")

#: A report whose message nobody knows is let go when it is so old, in seconds.
LONGEST_WAIT_S = 86_400.0
#: Between two looks for its message: as long as it has waited, within these bounds.
FIRST_WAIT_S, LAST_WAIT_S = 5.0, 3600.0

_REASONS = {
    RecipientStatus.BOUNCED: "A hard bounce was reported.",
    RecipientStatus.COMPLAINED: "A complaint was reported.",
}


@dataclass(frozen=True, slots=True)
class Given:
    """A job, and whether it was given to a worker before."""

    job: RecordWebhook
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class _Told:
    """A report in our words, with what it came from."""

    place: int
    given: Given
    report: Report
    name: str

    @property
    def provider(self) -> str:
        return self.given.job.provider


@dataclass(frozen=True, slots=True)
class Processor:
    """What takes reports; safe for many threads.

    Fails closed without Postgres, and without the event log: the reports stay in
    their stream. Dragonfly only spares work. Without the index of message ids those
    wait that name nobody, and the others go on.

    Attributes:
        database: Where recipients are.
        seen: What was taken already.
        places: From provider's message ids to recipients, in one query.
        log_reported: Stores events; when it returns they are not lost.
        rule: When a config is stopped.
    """

    database: Database
    seen: Seen
    places: Callable[[Sequence[str]], Mapping[str, Place]]
    log_reported: Callable[[Sequence[ReportedEvent]], None]
    rule: BrakeRule

    def take(self, given: Sequence[Given]) -> dict[int, float]:
        """Take reports; return by place, which wait for their message, and how long.

        Raises `NeighbourUnavailableError` when none of them is sure to be taken. They
        are to be given again, in any company.
        """
        told = self._new(_readable(given))
        named, unnamed = self._named(told)
        waits = _waits(unnamed)
        if named:
            self._take(named)
        return waits

    def _new(self, told: Sequence[_Told]) -> list[_Told]:
        known = self.seen.among([one.name for one in told])
        _count("repeated", (one for one, was in zip(told, known, strict=True) if was))
        return [one for one, was in zip(told, known, strict=True) if not was]

    def _named(self, told: Sequence[_Told]) -> tuple[list[_Told], list[_Told]]:
        """Return those whose recipient is known, and the others."""
        named = [one for one in told if one.report.batch_id is not None]
        asked = [one for one in told if one.report.batch_id is None]
        found = self._looked_up([one.report.message_id for one in asked])
        named += [
            _at(one, found[one.report.message_id])
            for one in asked
            if one.report.message_id in found
        ]
        return named, [one for one in asked if one.report.message_id not in found]

    def _looked_up(self, message_ids: Sequence[str]) -> Mapping[str, Place]:
        wanted = sorted({message_id for message_id in message_ids if message_id})
        if not wanted:
            return {}
        try:
            return self.places(wanted)
        except NeighbourUnavailableError as error:
            log.warning("Reports without our ids wait: %s", error)
            return {}

    def _take(self, told: Sequence[_Told]) -> None:
        with self.database.transaction() as connection:
            reports = [(one.report, _account(one.given.job)) for one in told]
            moved = move_recipients(connection, reports)
            note_events(connection, list(_noted(told, moved)))
            unwanted = list(_unwanted(told, moved))
            if unwanted:
                suppress_reported(connection, unwanted)
                stopped = self._brake(connection, moved, told)
            else:
                stopped = {}
        for config_id, reason in stopped.items():
            BRAKES.inc()
            log.warning("Send config %s is held. %s", config_id, reason)
        self.log_reported(list(_events(told, moved)))
        self.seen.mark([one.name for one in told])
        _count_moved(told, moved)
        taken = {one.place for one in moved}
        _count("taken", (told[place] for place in taken))
        _count("nobody", (t for place, t in enumerate(told) if place not in taken))

    def _brake(
        self, connection: Connection, moved: Sequence[Moved], told: Sequence[_Told]
    ) -> dict[UUID, str]:
        """Stop configs with too high rates; returns those that were going on."""
        suspects = {one.config_id for one in moved if told[one.place].report.suppresses}
        stopped = {}
        for config_id, rates in recent_rates(connection, suspects).items():
            reason = self.rule.reason(rates)
            if reason and hold_config(
                connection, str(config_id), Hold("config", reason)
            ):
                stopped[config_id] = reason
        return stopped


def _readable(given: Sequence[Given]) -> list[_Told]:
    reports = [(one, report_of(one.job)) for one in given]
    found = [
        (place, one, report)
        for place, (one, report) in enumerate(reports)
        if report is not None
    ]
    for one, report in reports:
        if report is None:
            REPORTS.labels(one.job.provider, "aside").inc()
    names = keys_of((one.job, report) for _, one, report in found)
    return [
        _Told(place, one, report, name)
        for (place, one, report), name in zip(found, names, strict=True)
    ]


def _at(one: _Told, place: Place) -> _Told:
    return replace(
        one, report=replace(one.report, batch_id=place.batch_id, seq=place.seq)
    )


def _waits(unnamed: Sequence[_Told]) -> dict[int, float]:
    """Return how long each is to wait; who waited long enough is let go."""
    waits = {}
    for one in unnamed:
        age_s = time.time() - one.given.job.received_at
        if one.report.message_id and age_s < LONGEST_WAIT_S:
            waits[one.place] = min(max(age_s, FIRST_WAIT_S), LAST_WAIT_S)
    _count("waiting", (one for one in unnamed if one.place in waits))
    _count("nobody", (one for one in unnamed if one.place not in waits))
    return waits


def _account(job: RecordWebhook) -> UUID | None:
    return None if job.config_id is None else UUID(job.config_id)


def _unwanted(told: Sequence[_Told], moved: Sequence[Moved]) -> Iterable[Unwanted]:
    """Return who must not be written to again, for the lists of their tenants."""
    for one in moved:
        report = told[one.place].report
        if not report.suppresses:
            continue
        addresses = [*([one.address] if report.is_of_recipient else ()), *report.copies]
        for address in addresses:
            yield Unwanted(one.tenant_id, one.channel, address, _REASONS[report.status])


def _events(told: Sequence[_Told], moved: Sequence[Moved]) -> Iterable[ReportedEvent]:
    """Return what the event log is told.

    The fold logs sendings, so those that moved nobody are left out, unless they may
    have moved somebody before a process died here.
    """
    for one in moved:
        source = told[one.place]
        report, batch_id = source.report, source.report.batch_id
        is_known = (
            report.status is RecipientStatus.SENT
            and one.before is None
            and not source.given.is_repeated
        )
        if is_known or not report.is_of_recipient or batch_id is None:
            continue
        yield ReportedEvent(
            one.tenant_id,
            batch_id,
            str(report.status),
            report.seq,
            report.occurred_at,
            report.message_id,
            report.error,
        )


def _noted(told: Sequence[_Told], moved: Sequence[Moved]) -> Iterable[Noted]:
    """Return what tenants are told; the fold tells of sendings, but of those here.

    Who was opened before it was delivered is told both.
    """
    for one in moved:
        report = told[one.place].report
        is_news = report.status is not RecipientStatus.SENT or one.before is not None
        if is_news and report.is_of_recipient and report.batch_id is not None:
            event = f"message.{report.status}"
            about = (report.batch_id, report.seq, event)
            # Two clicks are two events; the same click again is known by its id.
            own_id = told[one.place].given.job.event_id
            name = ":".join(map(str, (*about, own_id))) if own_id else ""
            yield Noted(*about, report.occurred_at, name, _details(report))


def _details(report: Report) -> dict[str, object]:
    given = {"providerMessageId": report.message_id, "reason": report.error}
    details: dict[str, object] = {name: text for name, text in given.items() if text}
    if report.status is RecipientStatus.BOUNCED:
        details["isPermanent"] = report.is_hard
    return details


def _count(became: str, told: Iterable[_Told]) -> None:
    for provider, number in Counter(one.provider for one in told).items():
        REPORTS.labels(provider, became).inc(number)


def _count_moved(told: Sequence[_Told], moved: Sequence[Moved]) -> None:
    kinds = Counter(
        (told[one.place].provider, str(told[one.place].report.status))
        for one in moved
        if one.before is not None
    )
    for (provider, status), number in kinds.items():
        REPORTED_RECIPIENTS.labels(provider, status).inc(number)


def process(processor: Processor, messages: Sequence[BatchedMessage]) -> None:
    """Take what messages carry; what has to wait is delivered again, none is lost.

    A report that breaks us fails alone: after its retries it is a dead letter.
    """
    try:
        _process(processor, messages)
    except NeighbourUnavailableError as error:
        log.warning("%d reports wait: %s", len(messages), error)
        for one in messages:
            one.delivery.postpone(_away_s(one))
    except Exception as error:  # noqa: BLE001 - the outermost hand of a job
        if len(messages) == 1:
            messages[0].fail(error)
            return
        log.warning("A report of %d breaks the others: each alone.", len(messages))
        for one in messages:
            process(processor, [one])


def _process(processor: Processor, messages: Sequence[BatchedMessage]) -> None:
    given = [
        Given(job_of(RecordWebhook, one.kwargs), one.delivery.deliveries > 1)
        for one in messages
    ]
    for place, wait_s in processor.take(given).items():
        messages[place].delivery.postpone(wait_s)


def _away_s(message: BatchedMessage) -> float:
    """Return when to try again: twice as late each time, at most in ten minutes."""
    return float(min(5.0 * 2 ** min(message.delivery.deliveries - 1, 7), 600.0))
