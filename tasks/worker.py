"""What one worker process holds: its doors, and what it remembers of batches."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial

from hot_state import client as hot_state_client
from hot_state.limiter import Limiter
from hot_state.lock import Lease
from hot_state.outcomes import Outcomes
from models import credentials
from models.database import Database
from models.limit import Bucket, Limit
from models.message import Content, Templates
from models.plan import Plan
from models.queries import publishing
from models.recipients import listed_as
from models.timing import Timing
from providers import registry
from providers.guard import Guard
from providers.provider import Provider
from settings import Settings, load

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
    """A sealed batch, ready to be sent: its plan, compiled templates and provider."""

    plan: Plan
    templates: Templates
    provider: Provider
    buckets: Sequence[Bucket]


class Senders:
    """The batches that this process has sent for lately; each is read once."""

    def __init__(
        self,
        database: Database,
        *,
        credentials_key: str,
        system_rate_per_s: float,
        guard: Guard,
    ) -> None:
        self._database = database
        self._credentials_key = credentials_key
        self._guard = guard
        self._system = Bucket("system", Limit.of(system_rate_per_s))
        self._lock = threading.Lock()
        self._senders: dict[str, Sender] = {}
        self._providers: dict[str, Provider] = {}

    def of(self, batch_id: str) -> Sender | None:
        """Return a sealed batch's sender; none if there is no such batch."""
        known = self._senders.get(batch_id)
        if known is not None:
            return known
        with self._lock:
            return self._senders.get(batch_id) or self._read(batch_id)

    def close(self) -> None:
        """Close the providers' connections."""
        for provider in self._providers.values():
            provider.close()

    def _read(self, batch_id: str) -> Sender | None:
        with self._database.statement() as connection:
            plan = publishing.sealed_plan(connection, batch_id)
        if plan is None:
            return None
        sender = Sender(
            plan=plan,
            templates=Templates.compile(Content.of(plan.content)),
            provider=self._provider(plan),
            buckets=(self._system, Bucket(f"config:{plan.config_id}", plan.limit)),
        )
        if len(self._senders) >= _REMEMBERED:
            self._senders.pop(next(iter(self._senders)))
        self._senders[batch_id] = sender
        return sender

    def _provider(self, plan: Plan) -> Provider:
        if plan.account not in self._providers:
            with self._database.statement() as connection:
                sealed = publishing.sealed_credentials(connection, plan.config_id)
            self._providers[plan.account] = registry.build(
                plan.provider,
                plan.settings,
                credentials.unseal(sealed, self._credentials_key),
                guard=self._guard,
            )
        return self._providers[plan.account]


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
    senders: Senders
    suppressions: RecentSuppressions
    callers: ThreadPoolExecutor
    lease: Callable[..., Lease]

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
        return cls(
            settings=settings,
            timing=settings.timing,
            database=database,
            outcomes=Outcomes(client),
            # One more sends single messages.
            limiter=Limiter(client, processes=settings.worker_processes + 1),
            senders=Senders(
                database,
                credentials_key=settings.credentials_key.get_secret_value(),
                system_rate_per_s=settings.system_rate_per_s,
                guard=Guard.of(
                    ports=settings.endpoint_ports, networks=settings.endpoint_networks
                ),
            ),
            suppressions=RecentSuppressions(database),
            callers=ThreadPoolExecutor(
                settings.max_concurrent_emails, thread_name_prefix="call"
            ),
            lease=partial(Lease, client),
        )


@cache
def worker() -> Worker:
    """Return this process's worker, built when it is first asked for."""
    return Worker.build(load())
