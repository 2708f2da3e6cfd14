"""What the API tells of events, and whom it asks for it."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event

from analytics.client import connect
from analytics.event_log import ChunkEvents, EventLog
from analytics.migrations import migrate
from analytics.reported import EventWriter, ReportedEvent
from web_app import create_app
from web_app.services import Neighbours, Services

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RANGE = "first=2026-11-20&last=2026-11-30"


@pytest.fixture
def event_log(clickhouse_url):
    """A client of a fresh, migrated database."""
    server, _, _ = clickhouse_url.rpartition("/")
    client = connect(f"{server}/test_{uuid4().hex}", timeout_s=20)
    migrate(client)
    yield client
    client.command(f"DROP DATABASE `{client.database}`", in_database=False)
    client.close()


@pytest.fixture
def app(database, settings, event_log):
    """The application with an event log."""
    return create_app(settings, Neighbours(event_log=event_log))


@pytest.fixture
def batch(event_log, tenant, tmp_path):
    """Seven recipients: 4 were sent, of whom 3 were delivered and 1 came back."""
    batch_id = uuid4()
    chunk = ChunkEvents(
        batch_id,
        tenant.tenant_id,
        0,
        7,
        NOON,
        NOON + timedelta(seconds=1),
        sent="1111000",
        failed="0000110",
        suppressed="0000001",
        provider_ids=["a", "b", "c", "d"],
        errors={4: "Refused.", 5: "Refused."},
        name="News",
    )
    EventLog(event_log).write([chunk])
    # Logged again the next day, as after a repair: nobody is counted twice.
    EventLog(event_log).write([chunk.__class__(**_fields(chunk))])
    writer = EventWriter(event_log, tmp_path)
    writer.write(
        [
            ReportedEvent(tenant.tenant_id, batch_id, name, seq, NOON + DAY, "", why)
            for name, seq, why in (
                ("delivered", 0, ""),
                ("delivered", 1, ""),
                ("delivered", 2, ""),
                ("opened", 0, ""),
                ("opened", 1, ""),
                ("clicked", 1, ""),
                ("complained", 0, ""),
                ("bounced", 3, "No such mailbox."),
            )
        ]
    )
    assert writer.close()
    return batch_id


def _fields(chunk):
    fields = {name: getattr(chunk, name) for name in chunk.__slots__}
    return fields | {"finished_at": NOON + DAY, "errors": {}}


@contextmanager
def statements_to(app):
    """Every statement that reaches Postgres meanwhile."""
    database = app.extensions[Services.NAME].database
    seen = []

    def note(_connection, _cursor, statement, *_):
        seen.append(statement)

    engines = [database._engine, database._autocommit]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize(
    "path",
    [
        "/api/batches/{}/recipients?addresses=false&status=sent",
        "/api/batches/{}/recipients/0/timeline",
        "/api/analytics/batches/{}",
        f"/api/analytics/rates?{RANGE}",
        f"/api/analytics/failures?{RANGE}",
        "/api/analytics/batches?after=2026-12-01T00:00:00%2B00:00~{}",
    ],
)
def test_postgres_is_asked_only_who_is_calling(app, tenant, batch, path):
    """One statement, by the key's digest; all else is the event log's."""
    with statements_to(app) as seen:
        answer = tenant.get(path.format(batch))

    assert answer.status_code == 200, answer.text
    assert answer.json["asOf"] is not None
    [only] = seen
    assert "api_keys" in only


def test_a_batch_shows_where_everybody_stands(tenant, batch):
    """Those who stand somewhere add up to all; those who had an event do not."""
    shown = tenant.get(f"/api/analytics/batches/{batch}").json

    assert shown["standing"] == {
        "complained": 1,
        "bounced": 1,
        "clicked": 1,
        "delivered": 1,
        "failed": 2,
        "suppressed": 1,
    }
    assert shown["reached"]["opened"] == 2
    assert shown["rates"] == {
        "delivery": 3 / 4,
        "bounce": 1 / 4,
        "complaint": 1 / 3,
        "open": 2 / 3,
        "click": 1 / 3,
    }


def test_recipients_are_listed_page_by_page(tenant, batch):
    """By seq, each at its highest status."""
    path = f"/api/batches/{batch}/recipients?addresses=false&limit=4"

    first = tenant.get(path).json
    second = tenant.get(f"{path}&after={first['next']}").json

    found = [*first["recipients"], *second["recipients"]]
    assert [row["seq"] for row in found] == list(range(7))
    assert [row["status"] for row in found] == [
        *("complained", "clicked", "delivered", "bounced"),
        *("failed", "failed", "suppressed"),
    ]
    assert second["next"] is None
    assert found[3]["error"] == "No such mailbox."
    assert found[2]["providerMessageId"] == "c"


def test_recipients_of_one_status_are_those_who_stand_there(tenant, batch):
    """Who went on stands elsewhere."""
    path = f"/api/batches/{batch}/recipients?addresses=false&status="

    seqs = {
        status: [row["seq"] for row in tenant.get(path + status).json["recipients"]]
        for status in ("delivered", "sent", "failed", "sending")
    }

    assert seqs == {"delivered": [2], "sent": [], "failed": [4, 5], "sending": []}


def test_a_timeline_tells_all_in_order(tenant, batch):
    shown = tenant.get(f"/api/batches/{batch}/recipients/3/timeline").json

    assert [entry["event"] for entry in shown["events"]] == [
        "queued",
        "sent",
        "bounced",
    ]
    assert shown["events"][1]["providerMessageId"] == "d"


def test_days_count_everybody_on_their_first_day(tenant, batch):
    """The chunk that was logged again a day later adds nothing there."""
    shown = tenant.get(f"/api/analytics/rates?{RANGE}").json

    assert [(day["day"], day["counts"].get("sent")) for day in shown["days"]] == [
        ("2026-11-20", 4),
        ("2026-11-21", None),
    ]
    later = tenant.get("/api/analytics/rates?first=2026-11-21&last=2026-11-21").json
    assert later["total"].get("sent") is None
    assert later["total"]["delivered"] == 3


def test_the_most_frequent_reasons_come_first(tenant, batch):
    shown = tenant.get(f"/api/analytics/failures?{RANGE}").json

    assert shown["failures"] == [
        {"event": "failed", "error": "Refused.", "recipients": 2},
        {"event": "bounced", "error": "No such mailbox.", "recipients": 1},
    ]


def test_a_batch_is_always_in_one_list(tenant, batch):
    """Until its first events are logged it comes from Postgres."""
    draft = tenant.make_batch(name="Draft")

    shown = tenant.get("/api/analytics/batches?limit=1").json

    assert [row["id"] for row in shown["waiting"]] == [draft]
    [logged] = shown["batches"]
    assert (UUID(logged["id"]), logged["name"]) == (batch, "News")


def test_pages_of_batches_follow_each_other(tenant, event_log):
    """Newest first, each once."""
    ids = [uuid4() for _ in range(5)]
    EventLog(event_log).write(
        [
            ChunkEvents(one, tenant.tenant_id, 0, 1, NOON, NOON, sent="1", name="x")
            for one in ids
        ]
    )

    found, path = [], "/api/analytics/batches?limit=2"
    shown = tenant.get(path).json
    while True:
        found += [UUID(row["id"]) for row in shown["batches"]]
        if shown["next"] is None:
            break
        after = shown["next"].replace("+", "%2B")
        shown = tenant.get(f"{path}&after={after}").json

    assert sorted(found) == sorted(ids)


def test_another_tenants_batch_is_nothing(make_caller, batch):
    """Neither its numbers nor that it exists are told."""
    stranger = make_caller()

    answers = [
        stranger.get(path.format(batch))
        for path in (
            "/api/analytics/batches/{}",
            "/api/batches/{}/recipients?addresses=false",
            "/api/batches/{}/recipients/0/timeline",
        )
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/analytics/rates?first=yesterday", "first"),
        ("/api/analytics/rates?first=2026-11-21&last=2026-11-20", "first"),
        ("/api/analytics/failures?limit=0", "limit"),
        ("/api/analytics/batches?after=x~y", "after"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(tenant, path, field):
    answer = tenant.get(path)

    assert answer.status_code == 400
    assert answer.json["field"] == field


def test_without_an_event_log_the_caller_comes_again(database, settings, tenant):
    app = create_app(settings, Neighbours())
    headers = {"Authorization": f"Bearer {tenant.key}"}

    answer = app.test_client().get("/api/analytics/rates", headers=headers)

    assert answer.status_code == 503
