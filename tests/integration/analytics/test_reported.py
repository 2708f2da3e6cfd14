"""What providers report counts once, whatever is repeated, killed or away."""

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from analytics.audit import ActorKind, AuditEntry, AuditWriter
from analytics.client import connect
from analytics.event_log import ChunkEvents, EventLog
from analytics.message_index import Place, places
from analytics.migrations import migrate
from analytics.reported import EventWriter, ReportedEvent
from analytics.reports import batch_stats, timeline

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TENANT = uuid4()
ROOT = Path(__file__).parents[3]

#: Takes events and says so, block by block, until it is killed.
WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID
from analytics.client import connect
from analytics.reported import EventWriter, ReportedEvent
url, spool, tenant, batch = sys.argv[1:]
writer = EventWriter(connect(url), Path(spool), most_rows=100, longest_s=0.01)
noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
for no in range(1_000_000):
    seqs = range(no * 10, no * 10 + 10)
    writer.write(
        [ReportedEvent(UUID(tenant), UUID(batch), "delivered", s, noon) for s in seqs]
    )
    print(no, flush=True)
"""


def delivered(batch_id, seqs, **fields):
    return [
        ReportedEvent(TENANT, batch_id, "delivered", seq, NOON, **fields)
        for seq in seqs
    ]


@pytest.fixture
def batch_id():
    """A batch that nobody else knows."""
    return uuid4()


@pytest.fixture
def writer(client, tmp_path):
    """A writer to the fresh database that inserts when it is told."""
    writer = EventWriter(client, tmp_path, longest_s=60)
    yield writer
    writer.close()


def counted(client, batch_id):
    """Rows in each place, all of which must be the same."""
    given = {"batch_id": batch_id}
    [(events,)] = client.rows(
        "SELECT count() FROM email_events FINAL WHERE batch_id = {batch_id:UUID}"
        " AND event = 'delivered'",
        given,
    )
    [(in_stats,)] = client.rows(
        "SELECT groupBitmapMerge(seqs) FROM batch_stats"
        " WHERE batch_id = {batch_id:UUID} AND event = 'delivered'",
        given,
    )
    [(in_days,)] = client.rows(
        "SELECT groupBitmapMerge(seqs) FROM tenant_days"
        " WHERE batch_id = {batch_id:UUID} AND event = 'delivered'",
        given,
    )
    return events, in_stats, in_days


def test_a_reported_event_joins_its_recipients_timeline(client, writer, batch_id):
    """The ledger's events and the provider's are one story, addresses left out."""
    EventLog(client).write([ChunkEvents(batch_id, TENANT, 0, 2, NOON, NOON, sent="11")])
    later = NOON + timedelta(seconds=9)
    bounce = ReportedEvent(
        TENANT, batch_id, "bounced", 1, later, "id-1", "550 ann@example.com unknown"
    )

    writer.write([bounce])
    assert writer.flush()

    found = timeline(client, TENANT, batch_id, 1)
    assert [entry.event for entry in found] == ["queued", "sent", "bounced"]
    assert found[-1].occurred_at == later
    assert found[-1].error == "550 *** unknown"
    assert batch_stats(client, batch_id)["sent"] == 2


def test_the_same_event_in_any_company_counts_once(client, writer, batch_id):
    """A provider reports again and again, out of order and with another time."""
    for seqs in (range(10), range(5, 15), range(15)):
        writer.write(delivered(batch_id, seqs))
        assert writer.flush()
    again = ReportedEvent(TENANT, batch_id, "delivered", 3, NOON + timedelta(seconds=5))
    writer.write([again])
    assert writer.flush()

    assert counted(client, batch_id) == (15, 15, 15)
    [entry] = timeline(client, TENANT, batch_id, 3)
    assert entry.occurred_at == NOON


def test_only_a_sending_that_was_reported_is_looked_up(client, writer, batch_id):
    """Deliveries and opens would each repeat an id that is there already."""
    sent = ReportedEvent(TENANT, batch_id, "sent", 4, NOON, "id-4")
    writer.write([sent, *delivered(batch_id, [4], provider_message_id="id-4")])
    assert writer.flush()

    assert places(client, ["id-4"]) == {"id-4": Place(TENANT, batch_id, 4)}
    assert client.rows("SELECT count() FROM email_message_index") == [(1,)]


def test_a_killed_server_takes_a_block_once(own_server, tmp_path, batch_id):
    """The insert that was cut off is repeated under its token until it is stored."""
    client = connect(own_server.url, timeout_s=20)
    migrate(client)
    writer = EventWriter(client, tmp_path / "spool", longest_s=0.01)
    writer.write(delivered(batch_id, range(1_000)))
    assert writer.flush()

    own_server.kill()
    writer.write(delivered(batch_id, range(900, 3_000)))
    assert not writer.flush()
    own_server.start()

    assert writer.flush()
    assert counted(client, batch_id) == (3_000, 3_000, 3_000)
    assert writer.close()


def test_a_killed_writer_loses_nothing_it_had_taken(
    client, fresh_url, tmp_path, batch_id
):
    """Killed in mid-flush; what it said it had taken is there, each once."""
    arguments = [fresh_url, str(tmp_path), str(TENANT), str(batch_id)]
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    for line in process.stdout:
        if int(line) >= 60:
            process.kill()
            break
    rest = process.stdout.read().split()
    process.wait()
    taken = int((rest or [line])[-1]) + 1

    heir = EventWriter(client, tmp_path)
    assert heir.flush()
    assert heir.close()

    [(seqs,)] = client.rows(
        "SELECT groupArray(seq) FROM email_events FINAL"
        " WHERE batch_id = {batch_id:UUID}",
        {"batch_id": batch_id},
    )
    assert set(range(taken * 10)) <= set(seqs)
    assert Counter(seqs).most_common(1)[0][1] == 1
    assert counted(client, batch_id) == (len(seqs), len(seqs), len(seqs))


def test_an_audit_entry_is_there_once_and_holds_no_secret(client, tmp_path):
    """The same entry twice is one deed."""
    entry = AuditEntry(
        ActorKind.API_KEY,
        "key-1",
        "config.changed",
        "config",
        "config-1",
        tenant_id=TENANT,
        details={"ratePerS": 5, "credentials": {"apiKey": "hush"}},
        occurred_at=NOON,
    )
    writer = AuditWriter(client, tmp_path)

    writer.write([entry])
    assert writer.flush()
    writer.write([entry])
    assert writer.close()

    found = client.rows("SELECT * FROM audit_logs FINAL")
    assert found == [
        (
            TENANT,
            NOON,
            entry.id,
            "api_key",
            "key-1",
            "config.changed",
            "config",
            "config-1",
            '{"ratePerS":5,"credentials":"***"}',
        )
    ]
