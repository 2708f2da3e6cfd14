"""The tables of outgoing webhooks; `models.tables` has all others and the metadata."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from models.tables import metadata


def _time(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True))


def _now(name: str) -> Column[object]:
    """Return a time that is the statement's own where none is given."""
    return Column(
        name,
        DateTime(timezone=True),
        nullable=False,
        server_default=func.clock_timestamp(),
    )


def _count(name: str) -> Column[object]:
    return Column(name, Integer, nullable=False, server_default="0")


#: Where a tenant wants to hear of its events; `secret` is `models.outgoing.Secrets`,
#: sealed. `failing_since` is the first failure after the last success.
webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("batch_size", Integer, nullable=False, server_default="50"),
    Column("secret", LargeBinary, nullable=False),
    Column("state", Text, nullable=False, server_default="enabled"),
    Column("disabled_reason", Text),
    _time("disabled_at"),
    _time("failing_since"),
    Column(
        "created_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=func.now(),
    ),
    CheckConstraint("state in ('enabled', 'disabled')", name="state"),
)

#: The outbox of events that somebody subscribed to, many recipients a row, until they
#: are packed into deliveries. It holds no address; `details` are by position.
outgoing_events = Table(
    "outgoing_events",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("event", Text, nullable=False),
    Column("batch_id", Uuid),
    _now("at"),
    Column("seqs", ARRAY(Integer), nullable=False, server_default="{}"),
    Column("details", JSONB),
)

#: One POST to one endpoint, the same id however often it is tried. `events` are groups
#: of `models.outgoing`; `attempts` are those that ended; `epoch` is as a chunk's.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("uuidv7()")),
    Column(
        "endpoint_id",
        Uuid,
        ForeignKey("webhook_endpoints.id", ondelete="CASCADE"),
        nullable=False,
    ),
    _now("created_at"),
    Column("size", Integer, nullable=False),
    Column("events", JSONB, nullable=False),
    Column("state", Text, nullable=False, server_default="pending"),
    _count("attempts"),
    _count("epoch"),
    _now("next_attempt_at"),
    _time("published_at"),
    _time("finished_at"),
    Column("last_status", Integer),
    Column("last_error", Text),
    Column("response", Text),
    CheckConstraint("state in ('pending', 'delivered', 'failed')", name="state"),
    Index("webhook_deliveries_endpoint_id_id_idx", "endpoint_id", "id"),
    Index(
        "webhook_deliveries_pending_idx",
        "endpoint_id",
        "id",
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "webhook_deliveries_finished_at_idx",
        "finished_at",
        postgresql_where=text("finished_at is not null"),
    ),
)
