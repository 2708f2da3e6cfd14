"""Priority messages, which no list of batches shows; one spelling on lists of mails."""

from alembic import op

revision = "0006"
down_revision = "0003"

_CHANGES = """
alter table batches add column priority boolean default 'false' not null;
drop index batches_tenant_id_created_at_idx;
create index batches_tenant_id_created_at_idx on batches (tenant_id, created_at desc)
    where not priority;
delete from suppressions s using suppressions t
where s.channel = 'email' and t.channel = 'email'
    and s.tenant_id is not distinct from t.tenant_id
    and lower(s.address) = lower(t.address) and s.id > t.id;
update suppressions set address = lower(address)
where channel = 'email' and address <> lower(address);
"""


def upgrade() -> None:
    """Add the column, and write each mail address on a list in lower case."""
    op.execute(_CHANGES)
