"""The tables of Postgres, as SQLAlchemy sees them; migrations/postgres makes them."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import BIT, JSON, JSONB

from models.payload import LEGACY_COLUMNS, LEGACY_NAME
from models.status import BatchStatus, RecipientStatus

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

#: Postgres compares values of an enum by their order, so `status < 'sent'` is rank.
recipient_status = Enum(
    *[str(status) for status in RecipientStatus], name="recipient_status"
)
batch_status = Enum(*[str(status) for status in BatchStatus], name="batch_status")
chunk_state = Enum("open", "claimed", "done", name="chunk_state")


def _id() -> Column[object]:
    return Column(
        "id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")
    )


def _created_at() -> Column[object]:
    return Column(
        "created_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=func.now(),
    )


def _time(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True))


def _count(name: str) -> Column[object]:
    return Column(name, Integer, nullable=False, server_default="0")


def _bits(name: str) -> Column[object]:
    return Column(name, BIT(varying=True), nullable=False)


tenants = Table(
    "tenants",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _created_at(),
    # Days after which finished batches are deleted; null: never.
    Column("retention_days", Integer),
    CheckConstraint("retention_days >= 1", name="retention_days"),
)

#: Only a key's SHA-256 is kept; `prefix` is what its owner may see of it, and
#: `scopes` are those of `models.queries.api_keys`.
api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    _created_at(),
    _time("revoked_at"),
    Column("scopes", ARRAY(Text), nullable=False, server_default="{read,send}"),
    _time("expires_at"),
    CheckConstraint(
        "cardinality(scopes) > 0 and scopes <@ '{read,send,admin}'", name="scopes"
    ),
)

#: Requests by the key that their callers gave them; `status` and `answer` are there
#: once the request was done.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column(
        "started_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=func.now(),
        index=True,
    ),
    Column("status", Integer),
    Column("answer", LargeBinary),
)

#: `credentials` is a PyNaCl SecretBox, none where `mode` is managed; `held_reason`
#: stops all sending by a config, until `held_until` where it has one; `revision`
#: grows with each change of the account; `fallback_id` is the tenant's config that is
#: taken while this one's provider fails. `webhook_secret` is sealed by another key;
#: see `models.queries.webhook_secrets` for it and its two revisions.
send_configs = Table(
    "send_configs",
    metadata,
    _id(),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("credentials", LargeBinary),
    Column("rate_per_s", Float, nullable=False),
    Column("rate_burst", Float, nullable=False),
    Column("policy", Text, nullable=False),
    Column("revision", Integer, nullable=False, server_default="1"),
    Column("held_reason", Text),
    _created_at(),
    Column("mode", Text, nullable=False, server_default="byok"),
    Column("defaults", JSONB, nullable=False, server_default="{}"),
    _time("held_until"),
    Column("retry_for_s", Float, nullable=False, server_default="86400"),
    Column("retry_times", Integer),
    Column("webhook_secret", LargeBinary),
    Column("webhook_revision", BigInteger, nullable=False, server_default="0"),
    Column("webhook_published", BigInteger, nullable=False, server_default="0"),
    Column("fallback_id", Uuid, ForeignKey("send_configs.id")),
    UniqueConstraint("tenant_id", "name"),
    Index(
        "send_configs_webhook_unpublished_idx",
        "id",
        postgresql_where=text("webhook_published <> webhook_revision"),
    ),
    Index(
        "send_configs_webhook_idx", "id", postgresql_where=text("webhook_revision <> 0")
    ),
    Index(
        "send_configs_held_until_idx",
        "held_until",
        postgresql_where=text("held_until is not null"),
    ),
    CheckConstraint("fallback_id <> id", name="fallback"),
    CheckConstraint("mode in ('managed', 'byok')", name="mode"),
    CheckConstraint("policy in ('at_most_once', 'at_least_once')", name="policy"),
    CheckConstraint("channel in ('email', 'sms', 'webhook')", name="channel"),
)

#: `sealed` is everything a send depends on, fixed when the batch was sent: see
#: `models.plan.Plan`. The five counters count recipients by their present status. A
#: batch with `priority` is a single message with its own queue. The columns before
#: it are legacy columns: `models.payload` reads them, nobody writes them.
batches = Table(
    "batches",
    metadata,
    _id(),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("config_id", Uuid, ForeignKey("send_configs.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("status", batch_status, nullable=False, server_default="draft"),
    Column("payload", JSONB, nullable=False, server_default="{}"),
    Column("variable_names", ARRAY(Text), nullable=False, server_default="{}"),
    Column("sealed", JSONB),
    Column("reason", Text),
    _created_at(),
    _time("scheduled_at"),
    _time("queued_at"),
    _time("started_at"),
    _time("expanded_at"),
    _time("finished_at"),
    _count("rows"),
    _count("invalid"),
    _count("duplicates"),
    _count("recipients"),
    _count("sent"),
    _count("failed"),
    _count("unknown"),
    _count("suppressed"),
    _count("cancelled"),
    *(Column(name, Text) for name in (LEGACY_NAME, *LEGACY_COLUMNS)),
    Column("priority", Boolean, nullable=False, server_default="false"),
    Index(
        "batches_tenant_id_created_at_idx",
        "tenant_id",
        text("created_at desc"),
        postgresql_where=text("not priority"),
    ),
    Index(
        "batches_active_idx",
        "status",
        "scheduled_at",
        postgresql_where=text("status in ('queued', 'processing', 'paused')"),
    ),
    # What was finished lately is looked at again and again; the rest never.
    Index("batches_finished_at_idx", "finished_at"),
)

#: One row a part that was taken, so that a part sent twice counts once.
upload_parts = Table(
    "upload_parts",
    metadata,
    Column("batch_id", Uuid, ForeignKey("batches.id"), nullable=False),
    Column("part", Integer, nullable=False),
    Column("answer", JSONB, nullable=False),
    _created_at(),
    PrimaryKeyConstraint("batch_id", "part"),
)

#: Files that batches carry, once for a tenant, whatever they are called.
attachments = Table(
    "attachments",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False),
    _created_at(),
    PrimaryKeyConstraint("tenant_id", "sha256"),
)

#: No foreign key: a check for each of a million rows would prove what the insert's
#: own statement has just read. The room left in each page keeps the one update of
#: a row's life on its page and out of the indexes.
recipients = Table(
    "recipients",
    metadata,
    Column("batch_id", Uuid, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("address", Text, nullable=False),
    Column("variables", JSON, nullable=False),
    Column("status", recipient_status, nullable=False, server_default="pending"),
    Column("provider_message_id", Text),
    Column("error", Text),
    Column("hard_bounce", Boolean),
    PrimaryKeyConstraint("batch_id", "seq"),
    # One number of both: looked up by it alone, an address is found at the same cost
    # whatever the planner believes about the sizes of batches.
    Index(
        "recipients_address_idx",
        text("hashtextextended(address, uuid_hash_extended(batch_id, 0))"),
    ),
    postgresql_with={"fillfactor": "45"},
)

#: What the automatic brake looks at, by the hour in which it became known.
config_rates = Table(
    "config_rates",
    metadata,
    Column("config_id", Uuid, ForeignKey("send_configs.id"), nullable=False),
    Column("hour", DateTime(timezone=True), nullable=False),
    _count("sent"),
    _count("hard_bounces"),
    _count("complaints"),
    PrimaryKeyConstraint("config_id", "hour"),
)

#: `tenant_id` null is everybody's list. Mail addresses are in lower case.
suppressions = Table(
    "suppressions",
    metadata,
    _id(),
    Column("tenant_id", Uuid, ForeignKey("tenants.id")),
    Column("channel", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _created_at(),
    UniqueConstraint(
        "tenant_id", "channel", "address", postgresql_nulls_not_distinct=True
    ),
    Index("suppressions_channel_address_idx", "channel", "address"),
    Index("suppressions_created_at_idx", "created_at"),
)

#: Limits in place of a level's default, by scope (`models.levels`); a burst of null is
#: that of half a second.
rate_limit_overrides = Table(
    "rate_limit_overrides",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("per_s", Float, nullable=False),
    Column("burst", Float),
    Column("reason", Text, nullable=False, server_default=""),
    Column(
        "changed_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=func.now(),
    ),
    CheckConstraint("per_s > 0", name="per_s"),
    CheckConstraint("burst >= 1", name="burst"),
)

#: The ledger (design, section 5). Bit strings hold position 0 first. `late` are
#: those whom a holder knew to be sent after it had lost the row; `by_fallback` those
#: whose last call was by the fall-back, null for nobody.
chunks = Table(
    "chunks",
    metadata,
    Column("batch_id", Uuid, nullable=False),
    Column("no", Integer, nullable=False),
    Column("tenant_id", Uuid, nullable=False),
    Column("first", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("state", chunk_state, nullable=False, server_default="open"),
    _count("token"),
    Column("claim_id", Uuid),
    _time("lease_until"),
    Column("crashes", SmallInteger, nullable=False, server_default="0"),
    Column("reopened", SmallInteger, nullable=False, server_default="0"),
    _time("not_before"),
    _count("epoch"),
    _time("published_at"),
    _count("calls"),
    Column("in_call", JSONB, nullable=False, server_default="[]"),
    _bits("sent"),
    _bits("failed"),
    _bits("unknown"),
    _bits("suppressed"),
    _bits("cancelled"),
    _bits("doubt"),
    _bits("late"),
    Column("provider_ids", ARRAY(Text)),
    Column("errors", JSONB),
    Column("dead", Boolean, nullable=False, server_default="false"),
    _time("done_at"),
    _time("folded_at"),
    _time("logged_at"),
    Column("refusals", JSONB, nullable=False, server_default="[]"),
    Column("by_fallback", BIT(varying=True)),
    PrimaryKeyConstraint("batch_id", "no"),
    CheckConstraint(
        "bit_count(sent | failed | unknown | suppressed | cancelled)"
        " = bit_count(sent) + bit_count(failed) + bit_count(unknown)"
        " + bit_count(suppressed) + bit_count(cancelled)",
        name="nobody_twice",
    ),
    CheckConstraint(
        "state <> 'done' or (in_call = '[]' and"
        " bit_count(sent | failed | unknown | suppressed | cancelled)"
        " = last - first + 1)",
        name="done_is_decided",
    ),
    Index(
        "chunks_to_publish_idx",
        "batch_id",
        "no",
        postgresql_where=text("state <> 'done' and published_at is null"),
    ),
    Index(
        "chunks_claimed_idx", "lease_until", postgresql_where=text("state = 'claimed'")
    ),
    Index(
        "chunks_to_fold_idx",
        "batch_id",
        "no",
        postgresql_where=text("state = 'done' and folded_at is null"),
    ),
    Index(
        "chunks_to_log_idx",
        "folded_at",
        postgresql_where=text("folded_at is not null and logged_at is null"),
    ),
    Index(
        "chunks_unfinished_idx",
        "batch_id",
        postgresql_where=text("state <> 'done' or folded_at is null"),
    ),
    Index(
        "chunks_unknown_idx",
        "done_at",
        postgresql_where=text("state = 'done' and bit_count(unknown) > 0"),
    ),
)
