"""Whether Postgres is one that we can work with."""

from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

_MIGRATIONS = Path(__file__).parents[2] / "migrations" / "postgres"


def major_version(connection: Connection) -> int:
    """Return the server's version, such as 18."""
    number = connection.exec_driver_sql("show server_version_num").scalar_one()
    return int(number) // 10_000


def is_migrated(connection: Connection) -> bool:
    """Tell whether the tables are those that this code was written for."""
    newest = ScriptDirectory(str(_MIGRATIONS)).get_current_head()
    return MigrationContext.configure(connection).get_current_revision() == newest
