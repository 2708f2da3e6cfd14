"""The schema is brought up to date, from whatever state."""

import pytest

from analytics.client import connect
from analytics.migrations import MIGRATIONS, migrate
from models.errors import BatchSenderError


@pytest.fixture
def unmigrated(fresh_url):
    """A client of a database that does not exist yet."""
    client = connect(fresh_url, timeout_s=20)
    yield client
    client.command(f"DROP DATABASE IF EXISTS `{client.database}`", in_database=False)
    client.close()


def test_all_migrations_are_applied_in_order_and_once(unmigrated):
    """The second run finds nothing to do."""
    applied = migrate(unmigrated)

    assert applied == sorted(file.stem for file in MIGRATIONS.glob("*.sql"))
    assert migrate(unmigrated) == []


def test_a_closed_client_opens_again(unmigrated):
    """A process that closed its connections before a fork can go on."""
    unmigrated.close()
    migrate(unmigrated)
    unmigrated.close()

    assert migrate(unmigrated) == []


def test_a_new_file_is_applied_alone(unmigrated, tmp_path):
    """An older database gets what it lacks."""
    (tmp_path / "0001_one.sql").write_text("CREATE TABLE one (a Int8) ENGINE = Null;")
    migrate(unmigrated, tmp_path)
    (tmp_path / "0002_two.sql").write_text("-- Why.\nALTER TABLE one ADD COLUMN b Int8")

    assert migrate(unmigrated, tmp_path) == ["0002_two"]


def test_a_file_that_failed_half_way_is_taken_up_again(unmigrated, tmp_path):
    """It is recorded after its last statement only."""
    file = tmp_path / "0001_one.sql"
    create = "CREATE TABLE IF NOT EXISTS one (a Int8) ENGINE = Null;\n"
    file.write_text(create + "CREATE NONSENSE;\n")
    with pytest.raises(BatchSenderError):
        migrate(unmigrated, tmp_path)
    file.write_text(create)

    assert migrate(unmigrated, tmp_path) == ["0001_one"]
