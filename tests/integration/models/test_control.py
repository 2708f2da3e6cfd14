"""What a tenant does to a batch, and what follows for its ledger."""

from uuid import uuid4

import pytest

from models.errors import ConflictError, NotFoundError
from models.plan import Plan
from models.queries import control, fold, publishing
from tests.factories import (
    claimed,
    fields_of,
    finish,
    make_batch,
    make_config,
    make_started,
    set_chunk,
    statuses_of,
)


@pytest.fixture
def config(ledger_database):
    return make_config(ledger_database)


def act(database, action, tenant_id, batch_id):
    with database.transaction() as connection:
        return action(connection, tenant_id, batch_id)


def test_only_a_draft_is_sent(ledger_database, config):
    """A second *send* is refused and changes nothing."""
    batch_id = make_batch(ledger_database, config)
    before = fields_of(ledger_database, "batches", batch_id)

    with ledger_database.transaction() as connection:
        row = control.locked_batch(connection, config["tenant_id"], batch_id)
        plan = Plan.seal(row, row["config"], largest_chunk=1)
        with pytest.raises(ConflictError):
            control.queue_batch(connection, row, plan)

    assert fields_of(ledger_database, "batches", batch_id) == before


def test_a_batch_cancelled_before_its_start_never_starts(ledger_database, config):
    """It has no ledger: its recipients are cancelled with it, and counted."""
    batch_id = make_batch(ledger_database, config, recipients=3)

    act(ledger_database, control.cancel_batch, config["tenant_id"], batch_id)
    with ledger_database.transaction() as connection:
        assert batch_id not in publishing.start_due_batches(connection)
        assert str(batch_id) not in fold.complete_batches(connection, reopens=3)

    batch = fields_of(ledger_database, "batches", batch_id)
    assert (batch["status"], batch["cancelled"]) == ("cancelled", 3)
    assert batch["finished_at"] is not None
    assert statuses_of(ledger_database, batch_id) == ["cancelled"] * 3


def test_a_resumed_batch_publishes_anew_what_may_have_been_acked(
    ledger_database, config
):
    """Its epoch rises, else the window would swallow the new message."""
    batch_id = make_started(ledger_database, config, recipients=5, chunk=1)
    for no in range(4):
        set_chunk(ledger_database, batch_id, "published_at = now()", no=no)
    finish(ledger_database, batch_id, no=0)
    claimed(ledger_database, batch_id, no=1)
    claimed(ledger_database, batch_id, no=2)
    set_chunk(ledger_database, batch_id, "lease_until = null", no=2)
    act(ledger_database, control.pause_batch, config["tenant_id"], batch_id)

    act(ledger_database, control.resume_batch, config["tenant_id"], batch_id)

    rows = [fields_of(ledger_database, "chunks", batch_id, no=n) for n in range(5)]
    assert [row["epoch"] for row in rows] == [0, 0, 1, 1, 0]
    assert [row["published_at"] is None for row in rows] == [
        False, False, True, True, True,
    ]  # fmt: skip


def test_claimed_chunks_outlive_a_cancel_until_their_holder_is_heard(
    ledger_database, config
):
    """Open ones end at once."""
    batch_id = make_started(ledger_database, config, recipients=2, chunk=1)
    claimed(ledger_database, batch_id, no=0, calls=[1])

    act(ledger_database, control.cancel_batch, config["tenant_id"], batch_id)

    states = [
        fields_of(ledger_database, "chunks", batch_id, no=n)["state"] for n in (0, 1)
    ]
    assert states == ["claimed", "done"]


@pytest.mark.parametrize(
    "action", [control.pause_batch, control.resume_batch, control.cancel_batch]
)
def test_a_change_is_made_once_and_only_by_its_tenant(ledger_database, config, action):
    """A second time is a conflict; another tenant's batch is not there."""
    batch_id = make_started(ledger_database, config)
    if action is control.resume_batch:
        act(ledger_database, control.pause_batch, config["tenant_id"], batch_id)
    with pytest.raises(NotFoundError):
        act(ledger_database, action, uuid4(), batch_id)

    act(ledger_database, action, config["tenant_id"], batch_id)

    with pytest.raises(ConflictError):
        act(ledger_database, action, config["tenant_id"], batch_id)
