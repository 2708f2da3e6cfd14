"""An index by which batches that were finished lately are found."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make it."""
    op.create_index("batches_finished_at_idx", "batches", ["finished_at"])
