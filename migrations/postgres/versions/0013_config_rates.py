"""What the brake counts: sends, hard bounces and complaints of each config by hour.

The first half of expand and contract: the release before this one runs on it, and
leaves the new table alone, so what it sends meanwhile is not counted.
"""

from alembic import op

revision = "0013"
down_revision = "0012"

_UP = """
alter table recipients add column hard_bounce boolean;
create table config_rates (
    config_id uuid not null references send_configs (id),
    hour timestamptz not null,
    sent integer default '0' not null,
    hard_bounces integer default '0' not null,
    complaints integer default '0' not null,
    primary key (config_id, hour)
);
"""


def upgrade() -> None:
    """Add them."""
    op.execute(_UP)
