"""What a key may do, and until when; the keys there are may do what they could."""

from alembic import op

revision = "0009"
down_revision = "0008"

_CHANGES = """
alter table api_keys
    add column scopes text[] default '{read,send}' not null,
    add column expires_at timestamptz,
    add constraint api_keys_scopes_check check (
        cardinality(scopes) > 0 and scopes <@ '{read,send,admin}'
    );
"""


def upgrade() -> None:
    """Add the columns."""
    op.execute(_CHANGES)
