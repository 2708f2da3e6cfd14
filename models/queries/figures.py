"""What the leader tells of all batches, for metrics; each is one look at an index."""

from dataclasses import dataclass

from sqlalchemy import Connection, text

_OPEN = "b.recipients - b.sent - b.failed - b.unknown - b.suppressed - b.cancelled"
# Who waits for a hold, a pause or a time is nobody's work yet.
_SENDABLE = """
    from batches b join send_configs g on g.id = b.config_id
    where g.held_reason is null and (
        b.status = 'processing' or (
            b.status = 'queued'
            and coalesce(b.scheduled_at, b.queued_at) <= clock_timestamp()
        )
    )
    """
_WAITING = text(f"select coalesce(sum({_OPEN}), 0)::bigint as waiting {_SENDABLE}")
_WAITING_BY_TENANT = text(
    f"""
    select b.tenant_id, sum({_OPEN})::bigint as waiting {_SENDABLE}
    group by b.tenant_id having sum({_OPEN}) > 0 order by 2 desc limit :most
    """
)
_ACTIVE = text(
    """
    select status, count(*) as batches from batches
    where status in ('queued', 'processing', 'paused') group by status
    """
)
_HELD = text(
    """
    select provider, count(*) filter (where held_reason is not null) as held
    from send_configs group by provider
    """
)
_SENDING = text(
    f"""
    select b.config_id, min(g.provider) as provider {_SENDABLE}
    group by b.config_id order by max(b.queued_at) desc limit :most
    """
)
_SYNC_LAG = text(
    """
    select coalesce(extract(epoch from clock_timestamp() - min(done_at)), 0)::float
    from chunks where state = 'done' and folded_at is null
    """
)
_SERVER = text(
    """
    select (
            select count(*) from pg_stat_activity
            where backend_type = 'client backend'
        ) as connections,
        current_setting('max_connections')::int as most,
        (
            select extract(epoch from max(coalesce(replay_lag, interval '0')))::float
            from pg_stat_replication
        ) as lag_s
    """
)


@dataclass(frozen=True, slots=True)
class DatabaseLoad:
    """How busy Postgres is.

    Attributes:
        connections: Those of all clients.
        most: How many it takes.
        lag_s: How far the last standby is behind, in seconds; None without one.
    """

    connections: int
    most: int
    lag_s: float | None


def waiting_recipients(connection: Connection) -> int:
    """Return how many recipients without an outcome may be sent to now."""
    return int(connection.execute(_WAITING).scalar_one())


def waiting_by_tenant(connection: Connection, *, most: int) -> dict[str, int]:
    """Return, of the tenants with the most such recipients, how many they have."""
    rows = connection.execute(_WAITING_BY_TENANT, {"most": most})
    return {str(row.tenant_id): row.waiting for row in rows}


def active_batches(connection: Connection) -> dict[str, int]:
    """Return how many batches are queued, processing and paused."""
    counts = dict.fromkeys(("queued", "processing", "paused"), 0)
    return counts | {row.status: row.batches for row in connection.execute(_ACTIVE)}


def held_configs(connection: Connection) -> dict[str, int]:
    """Return, for each provider that has configs, how many of them are held."""
    return {row.provider: row.held for row in connection.execute(_HELD)}


def sending_configs(connection: Connection, *, most: int) -> dict[str, str]:
    """Return the providers of the configs that send now, by config, the newest."""
    rows = connection.execute(_SENDING, {"most": most})
    return {str(row.config_id): row.provider for row in rows}


def sync_lag_s(connection: Connection) -> float:
    """Return the age of the oldest outcome that is not folded, in seconds."""
    return float(connection.execute(_SYNC_LAG).scalar_one())


def database_load(connection: Connection) -> DatabaseLoad:
    """Return how busy the server is; standbys are seen by `pg_monitor` alone."""
    row = connection.execute(_SERVER).one()
    return DatabaseLoad(row.connections, row.most, row.lag_s)
