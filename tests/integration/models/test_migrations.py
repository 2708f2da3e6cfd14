"""What the migrations make is what `models.tables` says."""

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import make_url, text

from models import outgoing_tables
from models.database import Database
from models.payload import content_of

#: Of all tables: those of outgoing webhooks join it when their module is imported.
metadata = outgoing_tables.metadata
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


#: Batches as older systems and releases left them.
_LEGACY = [
    {"payload": {"subject": "p", "text": None}, "subject": "l", "text_content": "l"},
    {"payload": {}, "from_name": 'A "B" \\', "from_email": "a@x.io", "reply_to": "r"},
    {"payload": {"from": "p@x.io"}, "from_name": "A", "from_email": "a@x.io"},
    {"payload": {"text": "p"}, "html_content": "<p>l</p>", "subject": ""},
    {"payload": {"text": "p", "data": {"a": None}}, "from_name": "A"},
]


def test_legacy_columns_become_what_was_read_from_them(empty_database):
    """One rule in two languages; and the release before this one still writes."""
    upgraded(empty_database, "0002")
    columns = sorted({name for row in _LEGACY for name in row} - {"payload"})
    with empty_database.transaction() as connection:
        for name in columns:
            connection.exec_driver_sql(f"alter table batches add {name} text")
        connection.exec_driver_sql(_TENANT)
        for row in _LEGACY:
            connection.execute(_OLD_BATCH, dict.fromkeys(columns) | stored(row))

    empty_database.migrate()

    with empty_database.transaction() as connection:
        rows = connection.execute(_BATCHES).mappings().all()
        connection.exec_driver_sql(_OLD_CODE)
    expected = [content_of(row) for row in _LEGACY]
    assert [content_of({"payload": row["payload"]}) for row in rows] == expected
    assert [content_of(row) for row in rows] == expected


_TENANT = """
    with tenant as (insert into tenants (name) values ('t') returning id)
    insert into send_configs (tenant_id, name, channel, provider, settings,
        rate_per_s, rate_burst, policy)
    select id, 'c', 'email', 'custom', '{}', 1, 1, 'at_most_once' from tenant
"""
_OLD_BATCH = text(
    """
    insert into batches (tenant_id, config_id, name, payload, created_at, from_name,
        from_email, reply_to, subject, text_content, html_content)
    select tenant_id, id, 'b', cast(:payload as jsonb), clock_timestamp(), :from_name,
        :from_email, :reply_to, :subject, :text_content, :html_content
    from send_configs
    """
)
_BATCHES = text("select * from batches order by created_at")
_OLD_CODE = """
    insert into batches (tenant_id, config_id, name, payload)
    select tenant_id, id, 'new', '{"text": "x"}' from send_configs
"""


def stored(row: dict) -> dict:
    return row | {"payload": json.dumps(row["payload"])}


def upgraded(database: Database, revision: str) -> None:
    """Bring the tables to an older state, as `Database.migrate` to the newest."""
    config = Config()
    config.set_main_option("script_location", "migrations/postgres")
    with database.transaction() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
