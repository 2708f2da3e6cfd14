"""`python -m scheduler`: one of the processes among which a leader is chosen."""

import logging
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial

from analytics import client as analytics_client
from analytics.audit_log import AuditLog
from analytics.event_log import EventLog
from brokers import JetStreamBroker, dispatch
from brokers.errors import UnavailableError
from brokers.metrics import served
from hot_state import client as hot_state_client
from hot_state.breaker import Breakers
from hot_state.health import Memory, memory_of
from hot_state.lock import Lease
from hot_state.outcomes import Outcomes
from middleware import metrics_page
from models.database import Database
from models.errors import InvalidInputError, NeighbourUnavailableError
from models.jobs import SendChunk, SendMessage
from models.queries import idempotency
from models.timing import Timing
from scheduler import (
    discovery,
    event_log,
    messages,
    outgoing,
    retention,
    sync,
    webhook_secrets,
)
from scheduler.deeds import DutyAudit
from scheduler.figures import LOOK_S, Doors, Figures
from scheduler.leader import Leader
from scheduler.recovery import Recovery
from scheduler.timetable import Duty, Round, timetable
from settings import Settings, load
from telemetry import METRICS, configure_logging

log = logging.getLogger("batchsender.scheduler")

#: The duty that sync wakes when a batch is finished.
EVENT_LOG = "event log"
_HOUR_S = 3600.0


def main() -> int:
    """Do the duties until SIGTERM or SIGINT; a duty under way is finished first."""
    try:
        settings = load()
    except InvalidInputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging("scheduler", level=settings.log_level)
    client = hot_state_client.connect(settings.dragonfly_url.get_secret_value())
    lease = Lease(client, "leader", ttl_s=settings.leader_lease_s)
    leader = Leader(lease)
    chosen = duties(settings, Outcomes(client))
    if settings.metrics_port:
        chosen += [_watching(settings, Breakers(client), partial(memory_of, client))]
    audit = AuditLog(
        analytics_client.connect(settings.clickhouse_url.get_secret_value()),
        settings.spool_dir,
        spool_cap_bytes=settings.spool_cap_bytes,
    )
    database = Database(settings.database_url.get_secret_value(), pool_size=1)
    plan = timetable(leader, chosen, record=DutyAudit(database, audit).write)
    stopping = threading.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: stopping.set())
    plan.start()
    stopping.wait()
    plan.shutdown(wait=True)
    leader.resign()
    audit.close()
    return 0


def duties(settings: Settings, outcomes: Outcomes) -> list[Duty]:
    """Return the leader's duties with their doors; nothing is connected yet."""
    database = Database(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        pool_timeout_s=settings.database_pool_timeout_s,
        prepares=settings.database_prepare,
    )
    broker = _broker(settings)
    recovery = Recovery(
        database,
        partial(_stored, broker),
        unknown_window_s=settings.unknown_window_s,
        stuck_after_s=settings.stuck_after_s,
    )
    chosen = [
        Duty(
            "discovery",
            settings.discovery_interval_ms / 1000,
            partial(discovery.discover, database, broker),
        ),
        Duty(
            "messages",
            settings.discovery_interval_ms / 1000,
            partial(messages.publish_messages, database, broker),
        ),
        Duty("recovery", settings.recovery_interval_s, recovery.recover),
        Duty(
            "retention", retention.EVERY_S, partial(retention.delete_expired, database)
        ),
        Duty("housekeeping", _HOUR_S, partial(_tidied, database)),
        webhook_secrets.duty(database, broker),
        *_outgoing(settings, database, broker),
    ]
    if settings.postgres_sync_enabled:
        chosen += _syncing(settings, database, outcomes)
    return chosen


def _syncing(settings: Settings, database: Database, outcomes: Outcomes) -> list[Duty]:
    every_s = settings.postgres_sync_interval_ms / 1000
    log_url = settings.clickhouse_url.get_secret_value()
    events = EventLog(analytics_client.connect(log_url))
    work = partial(_synced, database, outcomes, settings.timing)
    return [
        Duty("sync", every_s, work),
        Duty(EVENT_LOG, every_s, partial(event_log.log_events, database, events)),
    ]


def _tidied(database: Database) -> None:
    with database.statement() as connection:
        idempotency.forget_old_keys(connection)


def _outgoing(
    settings: Settings, database: Database, broker: JetStreamBroker
) -> list[Duty]:
    return [
        Duty(
            "outgoing",
            outgoing.EVERY_S,
            partial(outgoing.publish_deliveries, database, broker),
        ),
        Duty(
            "outgoing recovery",
            settings.recovery_interval_s,
            partial(
                outgoing.recover, database, broker, keep_s=settings.outgoing_keep_s
            ),
        ),
    ]


def _watching(
    settings: Settings, breakers: Breakers, memory: Callable[[], Memory]
) -> Duty:
    """Serve metrics; return the duty that looks up what all processes have together."""
    database = Database(settings.database_url.get_secret_value(), pool_size=1)
    figures = Figures(
        Doors(
            database=database,
            broker=_broker(settings),
            breakers=breakers,
            memory=memory,
            clickhouse=analytics_client.connect(
                settings.clickhouse_url.get_secret_value(), timeout_s=LOOK_S / 2
            ),
            stuck_after_s=settings.stuck_after_s,
        )
    )
    registry = served(METRICS)
    registry.register(figures)
    metrics_page.serve(settings.metrics_host, settings.metrics_port, registry=registry)
    return Duty("figures", LOOK_S, figures.look)


def _broker(settings: Settings) -> JetStreamBroker:
    return dispatch.connect(
        settings.nats_url,
        **settings.nats_options(),
        ack_wait_ms=int(settings.timing.ack_wait_s * 1000),
        concurrent_batches=settings.concurrent_batches,
        job_patience_s=settings.lease_s,
        email_shards=settings.email_shards,
    )


def _synced(database: Database, outcomes: Outcomes, timing: Timing) -> Round:
    """Sync; go on soon while there is something, log at once what is finished."""
    done = sync.sync(database, outcomes, timing)
    return Round(again=done.folded > 0, wakes=(EVENT_LOG,) if done.finished else ())


def _stored(broker: JetStreamBroker) -> dict[str, int]:
    try:
        # Single messages have no tenant's queue: they are counted under "".
        return broker.stored(SendChunk.queue) | broker.stored(SendMessage.queue)
    except UnavailableError as error:
        raise NeighbourUnavailableError(
            "NATS does not answer; check NATS_URL."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
