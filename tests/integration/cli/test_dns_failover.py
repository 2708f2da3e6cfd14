"""Names follow the regions that answer: real HTTP, with Cloudflare and both doors fake.

The regions are two addresses of this machine with the same port, as they are two on
the internet.
"""

import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

import web_app
import webhook_app
from cli import main
from cli.cloudflare import Zone
from cli.dns_failover import Watch
from cli.failover import Note, Region
from cli.region_doors import DOORS, Door, Looker
from models.errors import NeighbourUnavailableError
from settings import Settings

FALKENSTEIN, ASHBURN = "127.0.0.2", "127.0.0.3"
API = DOORS[0]
START = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Fake(BaseHTTPRequestHandler):
    """Cloudflare's zone or a region's doors, as its server says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        status, answer = self.server.answer(self, body)
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_PATCH = do_POST = do_GET  # noqa: N815 - the library's names

    def log_message(self, *_):
        """Say nothing."""


def serving(address, port, answer, tls=None):
    """Return a server that runs, and answers as it is told."""
    server = ThreadingHTTPServer((address, port), Fake)
    server.daemon_threads = True
    server.answer = answer
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


class Cloudflare:
    """A zone with a record for each door, and everything that was asked of it."""

    def __init__(self):
        self.records = {
            door.host: {
                "id": f"id-{door.host}",
                "name": door.host,
                "content": FALKENSTEIN,
                "comment": None,
            }
            for door in DOORS
        }
        self.changes = []
        self.alerts = []
        self.refuses = False
        self.server = serving("127.0.0.1", 0, self.answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, handler, body):
        path = urlsplit(handler.path)
        if path.path == "/alerts":
            self.alerts.append(body["text"])
            return 200, {}
        if self.refuses or handler.headers["Authorization"] != "Bearer hush":
            return 403, {"success": False, "errors": [{"code": 10000}]}
        if handler.command == "PATCH":
            name = path.path.rpartition("/id-")[2]
            self.records[name].update(body)
            self.changes.append((name, body["content"]))
            return 200, {"success": True, "result": self.records[name]}
        assert path.path == "/zones/zone/dns_records"
        name = parse_qs(path.query)["name"][0]
        return 200, {"success": True, "result": [self.records[name]]}

    def at(self, door=API):
        return self.records[door.host]["content"]


@pytest.fixture
def cloudflare():
    """A zone of its own for each test."""
    zone = Cloudflare()
    yield zone
    zone.server.shutdown()
    zone.server.server_close()


class Regions:
    """Both regions' doors; `down` stops a region as if it had gone."""

    def __init__(self):
        self.statuses = {FALKENSTEIN: {}, ASHBURN: {}}
        self.down = set()
        ca = trustme.CA()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(*(door.host for door in DOORS)).configure_cert(tls)
        trusted = ssl.create_default_context()
        ca.configure_trust(trusted)
        first = serving(FALKENSTEIN, 0, self.answer(FALKENSTEIN), tls)
        port = first.server_port
        self.servers = [first, serving(ASHBURN, port, self.answer(ASHBURN), tls)]
        self.looker = Looker(port, trusted, tries=2, timeout_s=5, pause_s=0)

    def answer(self, address):
        def answer(handler, _):
            if address in self.down:
                return 503, {}
            host = handler.headers["Host"].partition(":")[0]
            door = next(one for one in DOORS if one.host == host)
            assert handler.path == door.path
            return self.statuses[address].get(host, door.status), {}

        return answer


@pytest.fixture
def regions():
    """Two regions that answer."""
    both = Regions()
    yield both
    for server in both.servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def look(cloudflare, regions):
    """Look once, so many seconds after the start; `watcher` may see less."""

    def look(after_s=0, *, dry=False, looks=regions.looker.answers):
        watch = Watch(
            zone=Zone("zone", "hush", url=cloudflare.url),
            addresses={Region.FALKENSTEIN: FALKENSTEIN, Region.ASHBURN: ASHBURN},
            looks=looks,
            alert=cloudflare.alerts.append,
            dry=dry,
        )
        watch.look(DOORS, now=START + timedelta(seconds=after_s))

    return look


def test_nothing_is_written_while_both_answer(look, cloudflare):
    """A run a minute costs two reads."""
    look()
    look(60)

    assert cloudflare.changes == []
    assert cloudflare.alerts == []


def test_the_names_move_once_the_primary_was_away_for_two_minutes(
    look, cloudflare, regions
):
    """Not for a moment's silence, and people are told once for each name."""
    regions.down.add(FALKENSTEIN)
    look(0)
    look(60)
    assert {cloudflare.at(door) for door in DOORS} == {FALKENSTEIN}

    look(120)
    look(180)

    assert {cloudflare.at(door) for door in DOORS} == {ASHBURN}
    assert len(cloudflare.alerts) == len(DOORS)
    assert "ashburn now" in cloudflare.alerts[0]


def test_a_region_that_comes_back_in_time_is_not_left(look, cloudflare, regions):
    """And the next silence begins anew."""
    regions.down.add(FALKENSTEIN)
    look(0)
    regions.down.clear()
    look(60)
    regions.down.add(FALKENSTEIN)
    look(120)
    look(180)

    assert cloudflare.at() == FALKENSTEIN
    assert cloudflare.alerts == []


def test_a_watcher_that_still_reaches_the_primary_prevents_the_move(
    look, cloudflare, regions
):
    """Two that see different things do not fight over the record."""
    for after_s in range(0, 600, 60):
        look(after_s, looks=lambda address, _: address == ASHBURN)
        look(after_s + 30)

    assert {address for _, address in cloudflare.changes} == {FALKENSTEIN}


def test_the_names_go_back_by_themselves_after_five_minutes(look, cloudflare, regions):
    """Longer than the way there: a primary may be restarting."""
    for record in cloudflare.records.values():
        record["content"] = ASHBURN
    look(0)
    look(240)
    assert cloudflare.at() == ASHBURN

    look(300)

    assert cloudflare.at() == FALKENSTEIN
    assert "falkenstein now" in cloudflare.alerts[0]
    assert cloudflare.records[API.host]["comment"] == ""


def test_where_nobody_answers_the_names_stay_and_people_are_told_once(
    look, cloudflare, regions
):
    """There is nowhere to go; the end of it is told too."""
    regions.down |= {FALKENSTEIN, ASHBURN}
    for after_s in (0, 60, 300):
        look(after_s)
    told = len(cloudflare.alerts)
    regions.down.clear()
    look(360)

    assert cloudflare.at() == FALKENSTEIN
    assert told == len(DOORS)
    assert len(cloudflare.alerts) == 2 * len(DOORS)


def test_each_name_is_looked_after_alone(look, cloudflare, regions):
    """A receiver that is away does not move the API."""
    regions.statuses[FALKENSTEIN][DOORS[1].host] = 404
    look(0)
    look(120)

    assert [cloudflare.at(door) for door in DOORS] == [FALKENSTEIN, ASHBURN]


def test_a_dry_run_tells_and_changes_nothing(look, cloudflare, regions, capsys):
    """Neither records nor notes nor people."""
    regions.down.add(FALKENSTEIN)
    note = Note("down", START - timedelta(hours=1))
    cloudflare.records[API.host]["comment"] = str(note)

    look(dry=True)

    assert "from falkenstein to ashburn" in capsys.readouterr().out
    assert cloudflare.changes == []
    assert cloudflare.alerts == []


def test_a_refusal_is_told_and_ends_the_run_badly(look, cloudflare):
    """The CronJob fails, and nothing shows the token."""
    cloudflare.refuses = True

    with pytest.raises(NeighbourUnavailableError, match="10000") as refused:
        look()

    assert "hush" not in str(refused.value)
    assert len(cloudflare.alerts) == len(DOORS)


def test_a_record_that_leads_elsewhere_is_left_alone(look, cloudflare):
    """Somebody moved it by hand; the other name is looked after."""
    cloudflare.records[API.host]["content"] = "127.0.0.9"

    with pytest.raises(NeighbourUnavailableError, match="neither region"):
        look()

    assert cloudflare.changes == []


def test_a_certificate_of_another_name_is_no_answer(regions):
    """Whoever has the address must also be us."""
    assert regions.looker.answers(FALKENSTEIN, API)
    assert not regions.looker.answers(FALKENSTEIN, Door("other.example", "/", 401))


def test_our_own_processes_refuse_as_the_doors_are_asked():
    """With no neighbour at all."""
    settings = Settings(
        _env_file=None,
        database_url="postgresql://none.invalid/x",
        nats_url="nats://none.invalid",
        dragonfly_url="redis://none.invalid",
        clickhouse_url="http://none.invalid/x",
    )
    apps = (web_app.create_app(settings), webhook_app.create_app(settings))

    for app, door in zip(apps, DOORS, strict=True):
        assert app.test_client().get(door.path).status_code == door.status


def test_the_command_moves_a_name_and_posts_an_alert(
    cloudflare, regions, monkeypatch, tmp_path, capsys
):
    """By the environment alone."""
    regions.down.add(FALKENSTEIN)
    for record in cloudflare.records.values():
        record["comment"] = str(Note("down", START))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cli.dns_failover.URL", cloudflare.url)
    monkeypatch.setattr("cli.dns_failover.Looker", lambda **_: regions.looker)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "hush")
    monkeypatch.setenv("CLOUDFLARE_ZONE_ID", "zone")
    monkeypatch.setenv("FALKENSTEIN_IP", FALKENSTEIN)
    monkeypatch.setenv("ASHBURN_IP", ASHBURN)
    monkeypatch.setenv("ALERT_WEBHOOK", f"{cloudflare.url}/alerts")

    assert main(["dns-failover"]) == 0

    assert {cloudflare.at(door) for door in DOORS} == {ASHBURN}
    assert len(cloudflare.alerts) == len(DOORS)
    assert "hush" not in "".join(capsys.readouterr())


def test_what_is_missing_is_named(monkeypatch, tmp_path, capsys):
    """In one sentence."""
    monkeypatch.chdir(tmp_path)
    for name in ("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ZONE_ID", "ASHBURN_IP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FALKENSTEIN_IP", "nowhere")

    assert main(["dns-failover"]) == 2

    told = capsys.readouterr().err
    for name in (
        "CLOUDFLARE_API_TOKEN",
        "CLOUDFLARE_ZONE_ID",
        "FALKENSTEIN_IP",
        "ASHBURN_IP",
    ):
        assert name in told
