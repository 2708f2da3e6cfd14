"""First tables: tenants, configs, batches, recipients and the ledger."""

from alembic import op

revision = "0001"
down_revision = None

_TABLES = """
create type recipient_status as enum (
    'pending', 'queued', 'sending', 'unknown', 'cancelled', 'suppressed',
    'failed', 'sent', 'delivered', 'opened', 'clicked', 'bounced', 'complained'
);
create type batch_status as enum (
    'draft', 'queued', 'processing', 'paused', 'completed', 'failed',
    'cancelled'
);
create type chunk_state as enum (
    'open', 'claimed', 'done'
);
create table tenants (
    id uuid default gen_random_uuid() not null,
    name text not null,
    created_at timestamptz default now() not null,
    constraint tenants_pkey primary key (id),
    constraint tenants_name_key unique (name)
);
create table api_keys (
    id uuid default gen_random_uuid() not null,
    tenant_id uuid not null,
    name text not null,
    prefix text not null,
    digest bytea not null,
    created_at timestamptz default now() not null,
    revoked_at timestamptz,
    constraint api_keys_pkey primary key (id),
    constraint api_keys_tenant_id_fkey foreign key(tenant_id) references tenants (id),
    constraint api_keys_digest_key unique (digest)
);
create index api_keys_tenant_id_idx on api_keys (tenant_id);
create table send_configs (
    id uuid default gen_random_uuid() not null,
    tenant_id uuid not null,
    name text not null,
    channel text not null,
    provider text not null,
    settings jsonb not null,
    credentials bytea,
    rate_per_s float not null,
    rate_burst float not null,
    policy text not null,
    revision integer default '1' not null,
    held_reason text,
    created_at timestamptz default now() not null,
    constraint send_configs_pkey primary key (id),
    constraint send_configs_tenant_id_name_key unique (tenant_id, name),
    constraint send_configs_policy_check check (policy in ('at_most_once',
        'at_least_once')),
    constraint send_configs_channel_check check (channel in ('email', 'sms',
        'webhook')),
    constraint send_configs_tenant_id_fkey foreign key(tenant_id) references tenants
        (id)
);
create table batches (
    id uuid default gen_random_uuid() not null,
    tenant_id uuid not null,
    config_id uuid not null,
    name text not null,
    status batch_status default 'draft' not null,
    payload jsonb not null,
    variable_names text[] default '{}' not null,
    sealed jsonb,
    reason text,
    created_at timestamptz default now() not null,
    scheduled_at timestamptz,
    queued_at timestamptz,
    started_at timestamptz,
    expanded_at timestamptz,
    finished_at timestamptz,
    rows integer default '0' not null,
    invalid integer default '0' not null,
    duplicates integer default '0' not null,
    recipients integer default '0' not null,
    sent integer default '0' not null,
    failed integer default '0' not null,
    unknown integer default '0' not null,
    suppressed integer default '0' not null,
    cancelled integer default '0' not null,
    constraint batches_pkey primary key (id),
    constraint batches_tenant_id_fkey foreign key(tenant_id) references tenants (id),
    constraint batches_config_id_fkey foreign key(config_id) references send_configs
        (id)
);
create index batches_active_idx on batches (status, scheduled_at) where status in
        ('queued', 'processing', 'paused');
create index batches_tenant_id_created_at_idx on batches (tenant_id, created_at desc);
create table upload_parts (
    batch_id uuid not null,
    part integer not null,
    answer jsonb not null,
    created_at timestamptz default now() not null,
    constraint upload_parts_pkey primary key (batch_id, part),
    constraint upload_parts_batch_id_fkey foreign key(batch_id) references batches
        (id)
);
create table recipients (
    batch_id uuid not null,
    seq integer not null,
    address text not null,
    variables json not null,
    status recipient_status default 'pending' not null,
    provider_message_id text,
    error text,
    constraint recipients_pkey primary key (batch_id, seq)
)
 with (fillfactor = 45);
create index recipients_address_idx on recipients (hashtextextended(address,
        uuid_hash_extended(batch_id, 0)));
create table suppressions (
    id uuid default gen_random_uuid() not null,
    tenant_id uuid,
    channel text not null,
    address text not null,
    reason text not null,
    created_at timestamptz default now() not null,
    constraint suppressions_pkey primary key (id),
    constraint suppressions_tenant_id_channel_address_key unique nulls not distinct
        (tenant_id, channel, address),
    constraint suppressions_tenant_id_fkey foreign key(tenant_id) references tenants
        (id)
);
create index suppressions_channel_address_idx on suppressions (channel, address);
create index suppressions_created_at_idx on suppressions (created_at);
create table chunks (
    batch_id uuid not null,
    no integer not null,
    tenant_id uuid not null,
    first integer not null,
    last integer not null,
    state chunk_state default 'open' not null,
    token integer default '0' not null,
    claim_id uuid,
    lease_until timestamptz,
    crashes smallint default '0' not null,
    reopened smallint default '0' not null,
    not_before timestamptz,
    epoch integer default '0' not null,
    published_at timestamptz,
    calls integer default '0' not null,
    in_call jsonb default '[]' not null,
    sent bit varying not null,
    failed bit varying not null,
    unknown bit varying not null,
    suppressed bit varying not null,
    cancelled bit varying not null,
    doubt bit varying not null,
    late bit varying not null,
    provider_ids text[],
    errors jsonb,
    dead boolean default 'false' not null,
    done_at timestamptz,
    folded_at timestamptz,
    logged_at timestamptz,
    constraint chunks_pkey primary key (batch_id, no),
    constraint chunks_nobody_twice_check check (bit_count(sent | failed | unknown |
        suppressed | cancelled) = bit_count(sent) + bit_count(failed) +
        bit_count(unknown) + bit_count(suppressed) + bit_count(cancelled)),
    constraint chunks_done_is_decided_check check (state <> 'done' or (in_call = '[]'
        and bit_count(sent | failed | unknown | suppressed | cancelled) = last -
        first + 1))
);
create index chunks_claimed_idx on chunks (lease_until) where state = 'claimed';
create index chunks_to_fold_idx on chunks (batch_id, no) where state = 'done' and
        folded_at is null;
create index chunks_to_log_idx on chunks (folded_at) where folded_at is not null and
        logged_at is null;
create index chunks_to_publish_idx on chunks (batch_id, no) where state <> 'done' and
        published_at is null;
create index chunks_unfinished_idx on chunks (batch_id) where state <> 'done' or
        folded_at is null;
create index chunks_unknown_idx on chunks (done_at) where state = 'done' and
        bit_count(unknown) > 0;
"""


def upgrade() -> None:
    """Make them all."""
    op.execute(_TABLES)
