"""Every deed leaves an entry, which tells no secret, and nothing loses it."""

import json
import time
import uuid
from dataclasses import replace

import pytest
from pydantic import SecretStr

from analytics.audit import ActorKind
from analytics.audit_log import Actor, AuditLog
from analytics.client import connect
from analytics.migrations import migrate
from analytics.spool import rows_of
from models.errors import NeighbourUnavailableError
from models.queries.api_keys import SCOPES, create_api_key
from web_app import create_app
from web_app.deeds import DEEDS, UNAUDITED

#: In every place of a request that may hold one.
SECRET = "hush-4711-hush"


@pytest.fixture
def clickhouse(clickhouse_url):
    """A client of a database of the test's own."""
    server, _, _ = clickhouse_url.rpartition("/")
    client = connect(f"{server}/test_{uuid.uuid4().hex}", timeout_s=20)
    migrate(client)
    yield client
    client.command(f"DROP DATABASE `{client.database}`", in_database=False)
    client.close()


@pytest.fixture
def logged(settings):
    """Returns the entries that wait on the disk, oldest first."""

    def logged():
        found = []
        for path in (settings.spool_dir / "audit").glob("*/*.open"):
            found += rows_of(path)
        return sorted(found, key=lambda row: row[1])

    return logged


def write_routes(app):
    return {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.methods & {"POST", "PUT", "PATCH", "DELETE"}
    }


def test_what_each_deed_tells_is_chosen(app):
    """Whoever adds an address that changes something says what its entry tells."""
    assert write_routes(app) == DEEDS.keys() | UNAUDITED


def everything(tenant):
    """Do each deed once, with a secret wherever a tenant may put one."""
    url = f"https://example.com/{SECRET}"
    config = tenant.make_config(
        "mine",
        settings={"url": url},
        credentials={"secret": "whsec_" + "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"},
        defaults={"subject": SECRET},
    )
    path = f"/api/send-configs/{config['id']}"
    tenant.ask("PUT", f"{path}/credentials", json={"secret": "whsec_" + "c2VjcmV0" * 4})
    tenant.post(f"{path}/resume")
    tenant.ask("POST", "/api/attachments", data=SECRET.encode())
    batch_id = tenant.make_batch(
        f"Hello {{{{ name }}}} {SECRET}",
        recipients=[{"address": "a@example.com", "name": SECRET}],
    )
    tenant.upload(batch_id, f"email,name\nb@example.com,{SECRET}\n")
    tenant.post(
        f"/api/batches/{batch_id}/send", {"scheduledAt": "2030-01-01T00:00:00Z"}
    )
    for verb in ("pause", "resume", "cancel"):
        tenant.post(f"/api/batches/{batch_id}/{verb}")
    rows = [{"address": f"{SECRET}@example.com", "reason": SECRET}]
    tenant.ask("POST", "/api/suppressions", json=rows)
    key = tenant.post("/api/api-keys", {"name": "other"}).json
    tenant.ask("DELETE", f"/api/api-keys/{key['prefix']}")
    tenant.ask("PUT", "/api/admin/rate-limits/system", json={"perSecond": 1e6})
    tenant.ask("DELETE", "/api/admin/rate-limits/system")
    address = f"{SECRET}%40example.com"
    tenant.ask("DELETE", f"/api/suppressions?address={address}&channel=email")
    secret = {"webhookSecret": "whsec_" + "c2VjcmV0" * 4}
    tenant.ask("PUT", f"{path}/webhook-secret", json=secret)
    everything_of_endpoints(tenant)
    return config["id"], batch_id, key


def everything_of_endpoints(tenant):
    url = f"https://example.com/{SECRET}"
    made = tenant.post(
        "/api/webhook-endpoints", {"url": url, "events": ["batch.completed"]}
    )
    path = f"/api/webhook-endpoints/{made.json['id']}"
    tenant.ask("PATCH", path, json={"events": ["message.failed"]})
    tenant.post(f"{path}/rotate-secret")
    delivery = tenant.post(f"{path}/test").json
    tenant.post(f"{path}/deliveries/{delivery['id']}/replay")
    tenant.post(f"{path}/replay", {"since": "2026-01-01T00:00:00Z"})
    tenant.ask("DELETE", path)


@pytest.fixture
def operator(tenant, database):
    """A tenant whose key may do everything."""
    with database.transaction() as connection:
        key = create_api_key(connection, tenant.tenant_id, "all", scopes=SCOPES)
    return replace(tenant, key=key)


def test_every_deed_is_on_the_disk_before_its_answer_and_tells_no_secret(
    operator, logged, settings
):
    """Whose key it was, what it did, to what; ClickHouse is away all the time."""
    config_id, batch_id, key = everything(operator)

    found = [
        (row[3], row[5], row[7], json.loads(row[8] or "{}"))
        for row in logged()
        if row[0] == str(operator.tenant_id)
    ]
    actions = {action for _, action, _, _ in found}
    by_action = {action: (what, told) for _, action, what, told in found}
    refused = {"batch.resumed", "batch.paused"}  # Of a batch that is not processing.
    assert actions >= {deed.action for deed in DEEDS.values()} - refused
    assert {kind for kind, *_ in found} == {"api_key"}
    assert by_action["batch.cancelled"] == (batch_id, {})
    assert by_action["config.credentials_changed"][0] == config_id
    assert by_action["batch.recipients_added"][1]["rows"] == 1
    raw = b"".join(p.read_bytes() for p in settings.spool_dir.rglob("*.open"))
    assert SECRET.encode() not in raw
    assert b"whsec_" not in raw
    assert by_action["limit.overridden"] == ("system", {"perSecond": 1e6})
    assert by_action["api_key.revoked"][0] == key["prefix"]
    assert operator.key.encode() not in raw
    assert key["key"].encode() not in raw
    assert b"example.com" not in raw


def test_what_is_refused_or_only_looked_at_leaves_no_entry(tenant, logged):
    before = len(logged())

    tenant.get("/api/batches")
    tenant.post("/api/batches", {"name": 1})
    tenant.client.post("/api/batches", headers={"Authorization": "Bearer bs_wrong"})

    assert len(logged()) == before


def test_a_tenant_reads_what_was_done_while_clickhouse_was_away(
    *, app, settings, make_caller, clickhouse, clickhouse_url
):
    """Its own entries, newest first, page by page."""
    tenant, other = make_caller(), make_caller()
    tenant.make_config("one")
    other.make_config("two")
    app.extensions["batchsender"].audit.close()
    url = f"{clickhouse_url.rpartition('/')[0]}/{clickhouse.database}"
    there = SecretStr(url)
    tenant.client.application = create_app(
        settings.model_copy(update={"clickhouse_url": there})
    )
    tenant.make_batch("x", sendConfig="one")

    deadline = time.monotonic() + 60
    while len(tenant.get("/api/audit").json["entries"]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first = tenant.get("/api/audit?limit=1").json
    second = tenant.get(f"/api/audit?limit=1&after={first['next']}").json

    (newest,), (oldest,) = first["entries"], second["entries"]
    assert (newest["action"], oldest["action"]) == ("batch.created", "config.created")
    assert newest["tenantId"] == oldest["tenantId"] == str(tenant.tenant_id)
    assert newest["actor"] == oldest["actor"]
    assert newest["actor"]["kind"] == "api_key"
    assert oldest["details"]["name"] == "one"
    assert second["next"] is None
    assert tenant.get("/api/audit?after=x").status_code == 400


def test_without_room_a_deed_is_told_in_the_log_and_the_next_is_refused(
    tmp_path, caplog
):
    """Nothing is done that nobody could write down."""
    client = connect("http://127.0.0.1:9/none", timeout_s=1)
    log = AuditLog(client, tmp_path, spool_cap_bytes=10)
    entry = Actor(ActorKind.SYSTEM, "test").did("batch.sent", "batch", "b1")
    log.check_room()

    with pytest.raises(NeighbourUnavailableError):
        log.write(entry)

    assert "No room in the audit log for batch.sent of batch b1" in caplog.text
    with pytest.raises(NeighbourUnavailableError):
        log.check_room()
    log.close()


def test_the_api_refuses_deeds_while_there_is_no_room(tenant, app, monkeypatch):
    """503, and nothing was done; looking goes on."""

    def full(*_):
        raise NeighbourUnavailableError("Full.")

    audit = app.extensions["batchsender"].audit
    monkeypatch.setattr(audit, "_is_full", True)
    monkeypatch.setattr(audit, "write", full)
    body = {"sendConfig": "hook", "payload": {"text": "x"}}

    refused = tenant.post("/api/batches", body)

    assert refused.status_code == 503
    assert tenant.get("/api/batches").json["batches"] == []
