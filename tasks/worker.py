"""What one worker process holds: its doors, and what it remembers of batches."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial

from analytics import client as analytics_client
from analytics.message_index import places
from analytics.reported import EventWriter
from hot_state import client as hot_state_client
from hot_state.breaker import Breakers
from hot_state.limiter import Limiter
from hot_state.lock import Lease
from hot_state.outcomes import Outcomes
from hot_state.seen import Seen
from hot_state.shared_answers import SharedAnswers
from hot_state.shortages import Shortages
from models.addresses import listed_as
from models.brake import BrakeRule
from models.breaker import BreakerRule
from models.database import Database
from models.errors import InvalidInputError
from models.message import Content, Templates
from models.plan import Plan
from models.queries import publishing
from models.timing import Timing
from models.unsubscribe import Links
from providers.guard import Guard
from providers.provider import Provider
from settings import Settings, load
from tasks.accounts import Accounts
from tasks.demands import Demands
from tasks.files import Files
from tasks.limits import Limits
from tasks.outgoing import Deliverer
from tasks.provider_words import ProviderWords
from tasks.webhook import Processor

log = logging.getLogger("batchsender.worker")

#: Sealed batches that a process remembers.
_REMEMBERED = 1000
#: A worker's list of new suppressions is never older than this.
_SUPPRESSIONS_FRESH_S = 2.0
#: A message that is older than this is checked against the tables.
SUPPRESSIONS_HORIZON_S = 3600.0
#: The list goes back further, because what a long import put in is seen at its end.
_SUPPRESSIONS_REACH_S = SUPPRESSIONS_HORIZON_S + 900.0
#: After an import of more than this, every message is checked against the tables.
_SUPPRESSIONS_LISTED = 10_000


@dataclass(frozen=True, slots=True)
class Sender:
    """A sealed batch, ready to be sent: its plan, compiled templates and provider.

    The plan's account is the one that the provider calls by. The fall-back sends the
    same batch by another config.
    """

    plan: Plan
    templates: Templates
    provider: Provider
    fallback: "Sender | None" = None

    def by(self, account: str) -> "Sender":
        """Return who made a call that this account was declared for."""
        other = self.fallback
        return other if other is not None and other.plan.owns(account) else self


class Senders:
    """The batches that this process has sent for lately; each is read once."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        *,
        unsubscribe_keys: str = "",
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._unsubscribe_keys = unsubscribe_keys
        self._lock = threading.Lock()
        self._senders: dict[str, Sender] = {}

    def of(self, batch_id: str) -> Sender | None:
        """Return a sealed batch's sender; none if there is no such batch.

        Changed credentials make another sender, 2 s later at most.
        """
        if (known := self._current(batch_id)) is not None:
            return known
        with self._lock:
            return self._current(batch_id) or self._read(batch_id)

    def close(self) -> None:
        """Close the providers' connections."""
        self._accounts.close()

    def _current(self, batch_id: str) -> Sender | None:
        known = self._senders.get(batch_id)
        if known is None or not self._is_current(known):
            return None
        if known.fallback is not None and not self._is_current(known.fallback):
            return None
        return known

    def _is_current(self, known: Sender) -> bool:
        return known.plan.account == self._accounts.label(known.plan)

    def _read(self, batch_id: str) -> Sender | None:
        with self._database.statement() as connection:
            plan = publishing.sealed_plan(connection, batch_id)
        if plan is None:
            return None
        account, provider = self._accounts.provider(plan)
        sender = Sender(
            plan=replace(plan, account=account),
            templates=Templates.compile(Content.of(plan.content), self._links(plan)),
            provider=provider,
        )
        if plan.fallback is not None:
            sender = self._falling_back(sender, plan.fallback)
        if len(self._senders) >= _REMEMBERED:
            self._senders.pop(next(iter(self._senders)))
        self._senders[batch_id] = sender
        return sender

    def _falling_back(self, sender: Sender, plan: Plan) -> Sender:
        """Return the sender with its fall-back; one that cannot be used is left out."""
        try:
            account, provider = self._accounts.provider(plan)
        except InvalidInputError as error:
            log.warning("Config %s cannot be fallen back on: %s", plan.config_id, error)
            return sender
        plan = replace(plan, account=account)
        return replace(
            sender, fallback=Sender(plan, sender.templates, provider=provider)
        )

    def _links(self, plan: Plan) -> Links | None:
        if plan.unsubscribing is None:
            return None
        return Links.of(plan.unsubscribing, plan.batch_id, self._unsubscribe_keys)


class RecentSuppressions:
    """Addresses suppressed after a chunk was published; at most 2 s old.

    Fails closed: while Postgres is away no chunk is claimed either.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._found: set[tuple[str | None, str, str]] = set()

    def positions(self, plan: Plan, addresses: Sequence[str]) -> list[int] | None:
        """Return the positions of those who were suppressed lately.

        None: there are too many to be listed; the tables must be asked.
        """
        found = self._fresh()
        if len(found) > _SUPPRESSIONS_LISTED:
            return None
        if not found:
            return []
        channel = plan.channel
        return [
            at
            for at, address in enumerate(listed_as(one, channel) for one in addresses)
            if (plan.tenant_id, channel, address) in found
            or (None, channel, address) in found
        ]

    def _fresh(self) -> set[tuple[str | None, str, str]]:
        with self._lock:
            if time.monotonic() - self._read_at > _SUPPRESSIONS_FRESH_S:
                asked_at = time.monotonic()
                with self._database.statement() as connection:
                    self._found = publishing.suppressed_since(
                        connection,
                        horizon_s=_SUPPRESSIONS_REACH_S,
                        most=_SUPPRESSIONS_LISTED + 1,
                    )
                self._read_at = asked_at
            return self._found


@dataclass(frozen=True, slots=True)
class Worker:
    """The doors of a worker process, and the times that it keeps."""

    settings: Settings
    timing: Timing
    database: Database
    outcomes: Outcomes
    limiter: Limiter
    breakers: Breakers
    limits: Limits
    shortages: Shortages
    demands: Demands
    words: ProviderWords
    senders: Senders
    accounts: Accounts
    suppressions: RecentSuppressions
    files: Files
    deliverer: Deliverer
    callers: ThreadPoolExecutor
    lease: Callable[..., Lease]
    processor: Processor
    events: EventWriter

    @classmethod
    def build(cls, settings: Settings) -> "Worker":
        """Return a worker for these settings; nothing is connected yet."""
        database = Database(
            settings.database_url.get_secret_value(),
            pool_size=settings.database_pool_size,
            pool_timeout_s=settings.database_pool_timeout_s,
            prepares=settings.database_prepare,
        )
        client = hot_state_client.connect(settings.dragonfly_url.get_secret_value())
        log_url = settings.clickhouse_url.get_secret_value()
        events = EventWriter(
            analytics_client.connect(log_url),
            settings.spool_dir,
            spool_cap_bytes=settings.spool_cap_bytes,
        )
        # One more sends single messages.
        limiter = Limiter(client, processes=settings.worker_processes + 1)
        demands = Demands(database)
        accounts = _accounts(database, settings)
        callers = ThreadPoolExecutor(
            settings.max_concurrent_emails, thread_name_prefix="call"
        )
        return cls(
            settings=settings,
            timing=settings.timing,
            database=database,
            outcomes=Outcomes(client),
            breakers=Breakers(client, _breaker_rule(settings)),
            limiter=limiter,
            limits=Limits(database, system_per_s=settings.system_rate_per_s),
            shortages=Shortages(client),
            demands=demands,
            words=ProviderWords(limiter, callers, demands, SharedAnswers(client)),
            senders=Senders(
                database,
                accounts,
                unsubscribe_keys=settings.unsubscribe_keys.get_secret_value(),
            ),
            accounts=accounts,
            suppressions=RecentSuppressions(database),
            files=Files(database),
            deliverer=Deliverer(settings, database),
            callers=callers,
            lease=partial(Lease, client),
            processor=Processor(
                database=database,
                seen=Seen(client),
                places=partial(places, analytics_client.connect(log_url)),
                log_reported=events.write,
                rule=_brake_rule(settings),
            ),
            events=events,
        )

    def close(self) -> None:
        """Write the events that wait; what ClickHouse does not take stays on disk."""
        self.events.close()


def _breaker_rule(settings: Settings) -> BreakerRule:
    """Return when breakers open; a probe is given up with the lease of its call."""
    return BreakerRule(
        failures=settings.breaker_failures,
        wait_s=settings.breaker_wait_s,
        longest_wait_s=settings.breaker_longest_wait_s,
        probe_s=settings.lease_s,
    )


def _brake_rule(settings: Settings) -> BrakeRule:
    return BrakeRule(
        min_sends=settings.brake_min_sends,
        bounce_rate=settings.brake_bounce_rate,
        complaint_rate=settings.brake_complaint_rate,
    )


def _accounts(database: Database, settings: Settings) -> Accounts:
    return Accounts(
        database,
        keys=settings.credentials_key.get_secret_value(),
        managed=settings.managed_credentials(),
        guard=Guard.of(
            ports=settings.endpoint_ports, networks=settings.endpoint_networks
        ),
    )


@cache
def worker() -> Worker:
    """Return this process's worker, built when it is first asked for."""
    return Worker.build(load())
