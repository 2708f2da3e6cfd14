"""A config's fall-back, and who was called by it.

Expand only: both may be null, so the release before this one still runs on it.
"""

from alembic import op

revision = "0014"
down_revision = "0013"

_UP = """
alter table send_configs
    add column fallback_id uuid
        constraint send_configs_fallback_id_fkey references send_configs (id),
    add constraint send_configs_fallback_check check (fallback_id <> id);
alter table chunks add column by_fallback bit varying;
"""


def upgrade() -> None:
    """Add them."""
    op.execute(_UP)
