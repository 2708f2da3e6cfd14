"""What the leader looks up for metrics: how much waits, and how the neighbours are.

Looked up every few seconds and served until the next time, so that a scrape never
waits for a neighbour. Who does not lead has none of it; what cannot be looked up is
missing, because 0 would be a lie.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import telemetry
from analytics.client import Client
from analytics.health import disks
from brokers import JetStreamBroker
from brokers.dispatch import routes
from brokers.metrics import QueueCollector
from hot_state.breaker import Breakers
from hot_state.health import Memory
from models.database import Database
from models.errors import NeighbourUnavailableError
from models.jobs import RecordWebhook
from models.queries import figures as queries
from models.queries.fold import waiting_to_log
from models.queries.recovery import stuck_batches
from telemetry import Figure

log = logging.getLogger("batchsender.figures")

#: Seconds between two looks.
LOOK_S = 10.0
#: After so long without a look, as when another leads now, nothing is served.
STALE_S = 3 * LOOK_S
#: Tenants that are told by name, and configs whose breakers are looked at.
TENANTS, CONFIGS = 20, 500
_WAITING_IN = ("dramatiq_nats_queue_ready", "dramatiq_nats_queue_in_flight")

#: What one figure was found to be: its value by the values of its labels.
Found = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Doors:
    """What is looked at.

    Attributes:
        memory: Asks Dragonfly how full it is.
        stuck_after_s: Without any movement for so long a batch is stuck, in seconds.
    """

    database: Database
    broker: JetStreamBroker
    breakers: Breakers
    memory: Callable[[], Memory]
    clickhouse: Client
    stuck_after_s: float


@dataclass(slots=True)
class _Look:
    """What a look found; `queues` are the broker's own families."""

    at_s: float = float("-inf")
    found: dict[Figure, Found] = field(default_factory=dict)
    queues: list[Metric] = field(default_factory=list)


class Figures(Collector):
    """The leader's figures: `look` is a duty, and `collect` serves what it found."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._last = _Look()

    def look(self) -> None:
        """Ask every neighbour; one that is away only takes its own figures along."""
        look = _Look()
        sending: dict[str, str] = {}
        look.queues = list(_queues(self._doors.broker))
        look.found |= _of_queues(look.queues)
        asks: dict[str, Callable[[], dict[Figure, Found]]] = {
            # Dragonfly is asked about what Postgres named.
            "postgres": lambda: _of_postgres(self._doors, sending),
            "dragonfly": lambda: _of_dragonfly(self._doors, sending),
            "clickhouse": lambda: _of_clickhouse(self._doors.clickhouse),
        }
        for neighbour, ask in asks.items():
            try:
                look.found |= ask()
                self._mark(look, neighbour, up=True)
            except NeighbourUnavailableError as error:
                log.warning("No figures of %s: %s", neighbour, error)
                self._mark(look, neighbour, up=False)
        look.at_s = time.monotonic()
        self._last = look

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering asks nobody."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield what the last look found, unless that is too long ago."""
        last = self._last
        if time.monotonic() - last.at_s > STALE_S:
            return
        yield from last.queues
        for figure, found in last.found.items():
            family = GaugeMetricFamily(figure.name, figure.text, labels=figure.labels)
            for labels, value in found.items():
                family.add_metric(labels, value)
            yield family

    def _mark(self, look: _Look, neighbour: str, *, up: bool) -> None:
        known = look.found.get(telemetry.NEIGHBOUR_UP, {})
        look.found[telemetry.NEIGHBOUR_UP] = {**known, (neighbour,): float(up)}


def _queues(broker: JetStreamBroker) -> Iterable[Metric]:
    names = [route.queue for route in routes()]
    return QueueCollector(broker, queues=names).collect()


def _of_queues(families: Iterable[Metric]) -> dict[Figure, Found]:
    """Return what the broker's families tell of reports, and of NATS itself."""
    samples = [sample for family in families for sample in family.samples]
    up = next(one.value for one in samples if one.name == "dramatiq_nats_up")
    found: dict[Figure, Found] = {telemetry.NEIGHBOUR_UP: {("nats",): up}}
    if up:
        waiting = sum(
            one.value
            for one in samples
            if one.name in _WAITING_IN and one.labels["queue"] == RecordWebhook.queue
        )
        found[telemetry.WAITING_EVENTS] = {(): waiting}
    return found


def _of_postgres(doors: Doors, sending: dict[str, str]) -> dict[Figure, Found]:
    """Return what the tables tell; put the configs that send now into `sending`."""
    with doors.database.statement() as connection:
        sending.update(queries.sending_configs(connection, most=CONFIGS))
        by_tenant = queries.waiting_by_tenant(connection, most=TENANTS)
        to_log = waiting_to_log(connection)
        load = queries.database_load(connection)
        stuck = stuck_batches(connection, after_s=doors.stuck_after_s)
        found: dict[Figure, Found] = {
            telemetry.WAITING_RECIPIENTS: {(): queries.waiting_recipients(connection)},
            telemetry.TENANT_WAITING_RECIPIENTS: _labelled(by_tenant),
            telemetry.ACTIVE_BATCHES: _labelled(queries.active_batches(connection)),
            telemetry.HELD_CONFIGS: _labelled(queries.held_configs(connection)),
            telemetry.STUCK_BATCHES: {(): len(stuck)},
            telemetry.SYNC_LAG_SECONDS: {(): queries.sync_lag_s(connection)},
            telemetry.EVENT_LOG_LAG_SECONDS: {(): to_log.oldest_s},
            telemetry.UNLOGGED_CHUNKS: {(): to_log.chunks},
            telemetry.DATABASE_CONNECTIONS: {(): load.connections},
            telemetry.DATABASE_CONNECTIONS_LIMIT: {(): load.most},
        }
    if load.lag_s is not None:
        found[telemetry.DATABASE_REPLICATION_LAG_SECONDS] = {(): load.lag_s}
    return found


def _of_dragonfly(doors: Doors, sending: Mapping[str, str]) -> dict[Figure, Found]:
    memory = doors.memory()
    not_closed = dict.fromkeys(sending.values(), 0)
    for config_id, provider in sending.items():
        not_closed[provider] += doors.breakers.of_config(config_id).state != "closed"
    found: dict[Figure, Found] = {
        telemetry.OPEN_BREAKERS: _labelled(not_closed),
        telemetry.DRAGONFLY_MEMORY_BYTES: {(): memory.used_bytes},
        telemetry.DRAGONFLY_EVICTED_KEYS: {(): memory.evicted_keys},
    }
    if memory.most_bytes:
        found[telemetry.DRAGONFLY_MEMORY_LIMIT_BYTES] = {(): memory.most_bytes}
    return found


def _of_clickhouse(client: Client) -> dict[Figure, Found]:
    found = disks(client)
    return {
        telemetry.CLICKHOUSE_DISK_FREE_BYTES: {(one.name,): one.free for one in found},
        telemetry.CLICKHOUSE_DISK_BYTES: {(one.name,): one.total for one in found},
    }


def _labelled(values: Mapping[str, float]) -> Found:
    return {(name,): value for name, value in values.items()}
