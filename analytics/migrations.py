"""Bring ClickHouse's schema up to date."""

import re
from pathlib import Path

from analytics.client import Client, Column

#: Where the numbered files are, beside the packages, as in the repository.
MIGRATIONS = Path(__file__).parent.parent / "migrations" / "clickhouse"

_END_OF_STATEMENT = re.compile(r";[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)


def migrate(client: Client, folder: Path = MIGRATIONS) -> list[str]:
    """Apply the numbered files that were not yet, and return their names.

    Creates the database where it is missing. ClickHouse has no transactions, so a
    file is recorded after its last statement and every statement must bear being
    repeated (`IF NOT EXISTS`): half a file, or two processes at once, do no harm.

    Args:
        client: Of the database to bring up to date; its user may create tables.
        folder: Holds `NNNN_what.sql`, applied in the order of their names.
    """
    client.command(
        f"CREATE DATABASE IF NOT EXISTS `{client.database}`", in_database=False
    )
    client.command(
        "CREATE TABLE IF NOT EXISTS schema_migrations "
        "(name String, applied_at DateTime DEFAULT now()) "
        "ENGINE = MergeTree ORDER BY name"
    )
    applied = {name for (name,) in client.rows("SELECT name FROM schema_migrations")}
    missing = [
        file for file in sorted(folder.glob("*.sql")) if file.stem not in applied
    ]
    for file in missing:
        _apply(client, file)
    return [file.stem for file in missing]


def _apply(client: Client, file: Path) -> None:
    for statement in _END_OF_STATEMENT.split(file.read_text()):
        if _COMMENT.sub("", statement).strip():
            client.command(statement)
    client.insert(
        "schema_migrations", [Column("name", "String", [file.stem])], token=file.stem
    )
