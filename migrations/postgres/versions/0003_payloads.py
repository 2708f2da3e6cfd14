"""What a batch says: defaults, files, whose account; legacy columns consolidated.

The first half of expand and contract: everything is added with a default, so the
release before this one still runs on it. docs/payload.md has the whole path.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

# A database that was brought over from an older system has the columns already.
_EXPAND = """
alter table send_configs
    add column mode text default 'byok' not null,
    add column defaults jsonb default '{}' not null,
    add constraint send_configs_mode_check check (mode in ('managed', 'byok'));
alter table batches
    alter column payload set default '{}',
    add column if not exists from_name text,
    add column if not exists from_email text,
    add column if not exists reply_to text,
    add column if not exists subject text,
    add column if not exists text_content text,
    add column if not exists html_content text;
create table attachments (
    tenant_id uuid not null,
    sha256 bytea not null,
    content bytea not null,
    created_at timestamptz default now() not null,
    constraint attachments_pkey primary key (tenant_id, sha256),
    constraint attachments_tenant_id_fkey foreign key(tenant_id) references tenants (id)
);
"""
# The same as `models.payload.content_of` decides, once for all rows. The columns keep
# their values: the release before this one may still be reading them.
_CONSOLIDATE = r"""
update batches set payload = jsonb_strip_nulls(jsonb_build_object(
    'from', case
        when nullif(from_email, '') is null then null
        when nullif(from_name, '') is null then from_email
        else '"' || replace(replace(from_name, '\', '\\'), '"', '\"') || '" <'
            || from_email || '>'
    end,
    'replyTo', nullif(reply_to, ''),
    'subject', nullif(subject, ''),
    'text', nullif(text_content, ''),
    'html', nullif(html_content, '')
)) || (
    select coalesce(jsonb_object_agg(key, value), '{}') from jsonb_each(payload)
    where value <> 'null'
)
where coalesce(
    nullif(from_email, ''), nullif(reply_to, ''), nullif(subject, ''),
    nullif(text_content, ''), nullif(html_content, '')
) is not null
"""


def upgrade() -> None:
    """Add what is new, then copy the legacy columns into the payloads."""
    op.execute(_EXPAND)
    op.execute(_CONSOLIDATE)
