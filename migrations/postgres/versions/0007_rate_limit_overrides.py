"""Limits that an operator sets in place of the defaults."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "rate_limit_overrides",
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("per_s", sa.Float, nullable=False),
        sa.Column("burst", sa.Float),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.func.now(),
        ),
        sa.PrimaryKeyConstraint("scope", name="rate_limit_overrides_pkey"),
        sa.CheckConstraint("per_s > 0", name="per_s"),
        sa.CheckConstraint("burst >= 1", name="burst"),
    )
