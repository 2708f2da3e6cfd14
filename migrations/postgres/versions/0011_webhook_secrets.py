"""What tenants' own accounts sign their reports with.

The first half of expand and contract: the columns have defaults, so the release before
this one still runs on it.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

_UP = """
alter table send_configs
    add column webhook_secret bytea,
    add column webhook_revision bigint default '0' not null,
    add column webhook_published bigint default '0' not null;
create index send_configs_webhook_unpublished_idx on send_configs (id)
    where webhook_published <> webhook_revision;
create index send_configs_webhook_idx on send_configs (id)
    where webhook_revision <> 0;
"""


def upgrade() -> None:
    """Add them."""
    op.execute(_UP)
