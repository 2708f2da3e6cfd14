"""Finished batches go when their tenant no longer keeps them, and no others."""

import pytest
from sqlalchemy import text

from models.queries.retention import set_retention
from scheduler.retention import delete_expired
from tests.factories import make_config, make_started, set_chunk

KEPT = """
    select
        (select count(*) from batches where id = :id),
        (select count(*) from recipients where batch_id = :id),
        (select count(*) from chunks where batch_id = :id)
"""


@pytest.fixture
def make_ended(ledger_database):
    """Makes a batch that ended some days ago, of a tenant that keeps 30 days."""

    def make(*, days_ago, retention_days=30, logged="now()"):
        config = make_config(ledger_database)
        batch_id = make_started(ledger_database, config, recipients=3)
        set_chunk(
            ledger_database,
            batch_id,
            "state = 'done', sent = B'111', folded_at = now(), done_at = now(),"
            f" logged_at = {logged}",
        )
        with ledger_database.statement() as connection:
            connection.execute(
                text(
                    "update batches set status = 'completed',"
                    " finished_at = now() - make_interval(days => :ago) where id = :id"
                ),
                {"ago": days_ago, "id": batch_id},
            )
            set_retention(connection, config["tenant_id"], retention_days)
        return batch_id

    return make


def kept(database, batch_id):
    with database.statement() as connection:
        return tuple(connection.execute(text(KEPT), {"id": batch_id}).one())


def test_a_batch_beyond_its_retention_is_deleted_whole(ledger_database, make_ended):
    """A second round finds nothing."""
    batch_id = make_ended(days_ago=31)

    assert delete_expired(ledger_database) == 1

    assert kept(ledger_database, batch_id) == (0, 0, 0)
    assert delete_expired(ledger_database) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"days_ago": 29},
        {"days_ago": 3000, "retention_days": None},
        {"days_ago": 31, "logged": "null"},
    ],
)
def test_what_is_young_wanted_or_not_logged_is_kept(
    ledger_database, make_ended, fields
):
    """Its events would be missing in the event log for ever."""
    batch_id = make_ended(**fields)

    assert delete_expired(ledger_database) == 0

    assert kept(ledger_database, batch_id) == (1, 3, 1)
