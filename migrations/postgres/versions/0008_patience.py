"""Holds that end, and how long a refusal for now is put up with.

The first half of expand and contract: everything is added with a default, so the
release before this one still runs on it.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

_UP = """
alter table chunks add column refusals jsonb default '[]' not null;
alter table send_configs
    add column held_until timestamptz,
    add column retry_for_s double precision default '86400' not null,
    add column retry_times integer;
create index send_configs_held_until_idx on send_configs (held_until)
    where held_until is not null;
"""


def upgrade() -> None:
    """Add them."""
    op.execute(_UP)
