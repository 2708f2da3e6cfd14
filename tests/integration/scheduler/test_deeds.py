"""What duties do to batches is written down in one place, for whose batch it is."""

import orjson
import pytest
from sqlalchemy import text

from analytics.audit_log import AuditLog
from analytics.client import connect
from analytics.spool import rows_of
from hot_state.lock import Lease
from models.errors import NeighbourUnavailableError
from scheduler.deeds import DutyAudit, Noted, note, noted
from scheduler.leader import Leader
from scheduler.sync import sync
from scheduler.timetable import Duty, timetable
from tests.factories import finish, make_started
from tests.integration.scheduler.test_leading import until


@pytest.fixture
def audit(tmp_path):
    """An audit log whose ClickHouse is away."""
    audit = AuditLog(connect("http://127.0.0.1:9/none", timeout_s=1), tmp_path)
    yield audit
    audit.close()


@pytest.fixture
def logged(tmp_path, audit):
    """Returns the entries on the disk: tenant, actor, action, object and details."""

    def logged():
        rows = [
            row for path in tmp_path.glob("audit/*/*.open") for row in rows_of(path)
        ]
        return [(r[0], r[3], r[4], r[5], r[7], orjson.loads(r[8] or b"{}"))
                for r in rows]  # fmt: skip

    return logged


def test_a_finished_batch_is_its_tenants_entry(
    *, ledger_database, outcomes, timing, config, audit, logged
):
    """A single message's end is traffic, and no deed."""
    batch_id, single = (
        make_started(ledger_database, config, recipients=1) for _ in range(2)
    )
    with ledger_database.statement() as connection:
        connection.execute(
            text("update batches set priority = true where id = :id"), {"id": single}
        )
    for one in (batch_id, single):
        finish(ledger_database, one)

    with noted() as deeds:
        sync(ledger_database, outcomes, timing)
    DutyAudit(ledger_database, audit).write("sync", deeds)

    whose, what = str(config["tenant_id"]), str(batch_id)
    assert logged() == [(whose, "system", "sync", "batch.finished", what, {})]


def test_a_round_that_fails_has_done_what_it_noted(hot_state):
    """It is recorded as any other; outside of a round nothing is."""
    recorded = []

    def fail():
        note("chunks.republished", "tenant", "t1", chunks=3)
        raise NeighbourUnavailableError("It fails.")

    leader = Leader(Lease(hot_state, "leader", ttl_s=60))
    plan = timetable(
        leader,
        [Duty("recovery", 0.02, fail), Duty("idle", 0.02, int)],
        record=lambda *what: recorded.append(what),
    )
    note("nobody", "hears")

    plan.start()
    until(lambda: recorded)
    plan.shutdown(wait=True)

    deed = Noted("chunks.republished", "tenant", "t1", {"chunks": 3})
    assert recorded[0] == ("recovery", [deed])
    assert {duty for duty, _ in recorded} == {"recovery"}


def test_without_room_duties_go_on(ledger_database, tmp_path, caplog):
    """Batches are not held up by their log; what is missing is told."""
    client = connect("http://127.0.0.1:9/none", timeout_s=1)
    full = AuditLog(client, tmp_path, spool_cap_bytes=10)

    DutyAudit(ledger_database, full).write("recovery", [Noted("a.b", "c", "")])
    full.close()

    assert "Deeds of recovery are not in the audit log" in caplog.text
