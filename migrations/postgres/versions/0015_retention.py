"""How long a tenant's finished batches are kept.

The first half of expand and contract: without a number they are kept for ever, as
before.
"""

from alembic import op

revision = "0015"
down_revision = "0014"

_UP = """
alter table tenants add column retention_days integer
    constraint tenants_retention_days_check check (retention_days >= 1);
"""


def upgrade() -> None:
    """Add it."""
    op.execute(_UP)
