"""Requests that callers named, and what they were answered."""

from alembic import op

revision = "0010"
down_revision = "0009"

_CHANGES = """
create table idempotency_keys (
    tenant_id uuid not null references tenants (id),
    key text not null,
    fingerprint bytea not null,
    started_at timestamptz default now() not null,
    status integer,
    answer bytea,
    constraint idempotency_keys_pkey primary key (tenant_id, key)
);
create index idempotency_keys_started_at_idx on idempotency_keys (started_at);
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(_CHANGES)
