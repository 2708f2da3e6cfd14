"""What the migrations make is what `models.tables` says."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import make_url

from models.database import Database
from models.tables import metadata

#: Everything about our tables that a reader of `models.tables` relies on, as text.
_CATALOGUE = """
    select 'index', tablename, indexdef from pg_indexes where schemaname = 'public'
    union all
    select 'constraint', conrelid::regclass::text,
        conname || ' ' || pg_get_constraintdef(oid)
    from pg_constraint where connamespace = 'public'::regnamespace
    union all
    select 'column', table_name, concat_ws(' ', column_name, udt_name, column_default,
        is_nullable, ordinal_position)
    from information_schema.columns where table_schema = 'public'
    union all
    select 'options', relname, reloptions::text
    from pg_class
    where relnamespace = 'public'::regnamespace and reloptions is not null
    union all
    select 'enum', typname, string_agg(enumlabel, ' ' order by enumsortorder)
    from pg_enum join pg_type on pg_type.oid = enumtypid group by 1, 2
"""


@pytest.fixture
def empty_database(database: Database, database_url: str) -> Iterator[Database]:
    name = f"empty_{uuid4().hex}"
    with database.statement() as connection:
        connection.exec_driver_sql(f"create database {name}")
    url = make_url(database_url).set(database=name)
    empty = Database(url.render_as_string(hide_password=False), pool_size=2)
    yield empty
    empty.close()
    with database.statement() as connection:
        connection.exec_driver_sql(f"drop database {name}")


def catalogue(database: Database) -> set[tuple[str, ...]]:
    with database.statement() as connection:
        found = {tuple(row) for row in connection.exec_driver_sql(_CATALOGUE)}
    return {row for row in found if row[1] != "alembic_version"}


def test_alembic_finds_nothing_left_to_migrate(database):
    with database.transaction() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        found = compare_metadata(context, metadata)

    assert found == []


def test_migrations_and_tables_make_the_same(database, empty_database):
    """Checks, partial indexes, storage options and enums too: Alembic skips them."""
    with empty_database.transaction() as connection:
        metadata.create_all(connection)

    assert catalogue(database) == catalogue(empty_database)


def test_migrating_twice_changes_nothing(database):
    before = catalogue(database)

    database.migrate()

    assert catalogue(database) == before
