"""Old events move to the cold volume of a policy, and are read from there."""

import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from analytics.client import connect
from analytics.cold import move_when_old
from analytics.migrations import migrate
from analytics.reported import EventWriter, ReportedEvent
from analytics.reports import timeline
from embedded import clickhouse_server
from embedded.stack import Stack
from models.errors import BatchSenderError

CONFIG = """\
<clickhouse>
  <max_server_memory_usage>{memory_bytes}</max_server_memory_usage>
  <storage_configuration>
    <disks><slow><path>SLOW</path></slow></disks>
    <policies><tiers><volumes>
      <default><disk>default</disk></default>
      <cold><disk>slow</disk></cold>
    </volumes></tiers></policies>
  </storage_configuration>
</clickhouse>
"""
TENANT = uuid4()


@pytest.fixture
def tiered(tmp_path, monkeypatch):
    """A client of a server of its own, with a second disk for what is old."""
    config = CONFIG.replace("SLOW", f"{tmp_path}/slow/")
    monkeypatch.setattr(clickhouse_server, "_CONFIG", config)
    stack = Stack(tmp_path / "stack")
    stack.clickhouse.start()
    client = connect(stack.clickhouse.url, timeout_s=20)
    migrate(client)
    yield client
    client.close()
    stack.stop()


def disks(client):
    """The disk of each event, oldest first."""
    found = client.rows(
        "SELECT disk_name FROM system.parts"
        " WHERE table = 'email_events' AND active AND database = currentDatabase()"
        " ORDER BY max_time"
    )
    return [disk for (disk,) in found]


def test_old_events_move_and_are_still_read(tiered, tmp_path):
    """Twice is as once."""
    move_when_old(tiered, "tiers", after_days=30)
    move_when_old(tiered, "tiers", after_days=60)
    now, batch_id = datetime.now(UTC), uuid4()
    writer = EventWriter(tiered, tmp_path)
    for age in (90, 1):
        at = now - timedelta(days=age)
        writer.write([ReportedEvent(TENANT, batch_id, f"day-{age}", 0, at)])
    assert writer.close()

    deadline = time.monotonic() + 60
    while sorted(disks(tiered)) != ["default", "slow"]:
        assert time.monotonic() < deadline, disks(tiered)

    found = timeline(tiered, TENANT, batch_id, 0)
    assert [entry.event for entry in found] == ["day-90", "day-1"]


def test_a_policy_that_is_not_there_is_refused(client):
    """Who named a wrong one is told, and nothing moves."""
    with pytest.raises(BatchSenderError):
        move_when_old(client, "nowhere", after_days=30)
