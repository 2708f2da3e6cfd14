"""`erase` reaches every place where a person's address is kept."""

import base64
import io
import json
from contextlib import closing
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import text

from analytics.client import connect
from analytics.event_log import ChunkEvents, EventLog
from analytics.reported import EventWriter, ReportedEvent
from brokers import dispatch
from cli.machine import running_machine
from embedded.state import running_state
from models.database import Database

ADDRESS = "Ann.Erased@example.com"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
#: Where a text may be: every column of every table that can hold one.
COLUMNS = text(
    """
    select table_name, column_name from information_schema.columns
    where table_schema = 'public'
        and data_type in ('text', 'json', 'jsonb', 'ARRAY', 'bytea')
    """
)


@pytest.fixture
def database(machine_dir):
    database = Database(running_state(machine_dir).urls["DATABASE_URL"], pool_size=2)
    with closing(database):
        yield database


@pytest.fixture
def clickhouse(machine_dir):
    client = connect(running_state(machine_dir).urls["CLICKHOUSE_URL"])
    with closing(client):
        yield client


@pytest.fixture
def broker(machine_dir):
    broker = dispatch.connect(running_state(machine_dir).urls["NATS_URL"])
    with closing(broker):
        yield broker


@pytest.fixture
def message(machine_dir, shell, database):
    """A single message to the address, whose way is at its end but not logged."""
    url = running_machine(machine_dir).url("sink")
    shell.run("config", "create", "erasing", "--url", url, "--channel", "email")
    letter = ("--config", "erasing", "--text", f"Dear {ADDRESS}", "--json")
    code, out, err = shell.run("send-one", ADDRESS, *letter)
    assert code == 0, err
    made = UUID(json.loads(out)["id"])
    with database.transaction() as connection:
        connection.execute(
            text(
                "update chunks set state = 'done', failed = B'1', sent = B'0',"
                " unknown = B'0', suppressed = B'0', cancelled = B'0', in_call = '[]',"
                " done_at = now(), folded_at = now(), provider_ids = '{id-1}',"
                " errors = jsonb_build_object('0', cast(:why as text))"
                " where batch_id = :id"
            ),
            {"id": made, "why": f"550 {ADDRESS} is unknown"},
        )
        connection.execute(
            text(
                "update batches set status = 'completed', finished_at = now()"
                " where id = :id"
            ),
            {"id": made},
        )
    return made


def mark_logged(database, batch_id):
    with database.statement() as connection:
        connection.execute(
            text("update chunks set logged_at = now() where batch_id = :id"),
            {"id": batch_id},
        )


def log(clickhouse, machine_dir, tenant_id, batch_id):
    """Log as the scheduler does, and leave a report in a spool as a killed one does."""
    error = f"550 {ADDRESS} is unknown"
    EventLog(clickhouse).write(
        [
            ChunkEvents(
                batch_id,
                tenant_id,
                0,
                1,
                NOON,
                NOON,
                sent="1",
                provider_ids=["id-1"],
                errors={0: error},
            )
        ]
    )
    away = connect("http://127.0.0.1:9/x", timeout_s=1)
    writer = EventWriter(away, machine_dir / "spool", longest_s=60)
    writer.write(
        [ReportedEvent(tenant_id, batch_id, "bounced", 0, NOON, "id-1", error)]
    )
    writer.close()


def kept_in_postgres(database, wanted):
    with database.statement() as connection:
        places = connection.execute(COLUMNS).all()
        return [
            f"{table}.{column}"
            for table, column in places
            if connection.execute(
                text(
                    f'select exists (select from "{table}"'
                    f' where lower(cast("{column}" as text)) like :wanted)'
                ),
                {"wanted": f"%{wanted.lower()}%"},
            ).scalar()
        ]


def kept_in_clickhouse(clickhouse, wanted):
    columns = clickhouse.rows(
        "SELECT table, name FROM system.columns WHERE database = currentDatabase()"
        " AND type LIKE '%String%'"
    )
    return [
        f"{table}.{name}"
        for table, name in columns
        if not table.endswith(("_mv", "_log"))
        and clickhouse.rows(
            f"SELECT count() FROM {table} WHERE lower({name}) LIKE {{wanted:String}}",
            {"wanted": f"%{wanted.lower()}%"},
        )
        != [(0,)]
    ]


def kept_in_streams(broker, wanted):
    """The streams whose stored messages hold the text."""
    link = broker._connected_link()
    found = []
    for name in link.run(link.api("STREAM.NAMES"))["streams"]:
        state = link.run(link.api(f"STREAM.INFO.{name}"))["state"]
        for sequence in range(state["first_seq"], state["last_seq"] + 1):
            if sequence in (state.get("deleted") or ()) or not state["messages"]:
                continue
            get = link.api(f"STREAM.MSG.GET.{name}", {"seq": sequence})
            body = base64.b64decode(link.run(get)["message"].get("data", ""))
            if wanted.lower().encode() in body.lower():
                found.append(name)
    return found


def test_an_erased_address_is_nowhere_but_on_the_list(
    *, shell, machine_dir, message, database, clickhouse, broker
):
    """And nothing is sent to it again; what is under way is erased the next time."""
    with database.statement() as connection:
        [tenant_id] = connection.execute(
            text("select tenant_id from batches where id = :id"), {"id": message}
        ).one()
    log(clickhouse, machine_dir, tenant_id, message)
    assert "recipients.address" in kept_in_postgres(database, ADDRESS)
    assert kept_in_streams(broker, ADDRESS)

    code, _, err = shell.run("erase", ADDRESS.upper(), "--yes")
    assert (code, "still under way" in err) == (1, True)
    mark_logged(database, message)
    code, _, err = shell.run("erase", ADDRESS.upper(), "--yes")

    assert code == 0, err
    assert kept_in_postgres(database, ADDRESS) == ["suppressions.address"]
    assert kept_in_clickhouse(clickhouse, ADDRESS) == []
    assert kept_in_clickhouse(clickhouse, "id-1") == []
    assert kept_in_streams(broker, ADDRESS) == []
    spooled = [p.read_bytes() for p in (machine_dir / "spool").rglob("*.block")]
    assert len(spooled) == 1
    assert ADDRESS.encode() not in spooled[0]
    # What it was counts on.
    assert clickhouse.rows(
        "SELECT event FROM email_events FINAL WHERE batch_id = {id:UUID}"
        " ORDER BY event",
        {"id": message},
    ) == [("queued",), ("sent",)]


def test_without_a_yes_nothing_is_erased(shell, message, database, monkeypatch):
    """A slip of the hand must not be the end of it."""
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))

    shell.run("erase", ADDRESS)

    assert "recipients.address" in kept_in_postgres(database, ADDRESS)
