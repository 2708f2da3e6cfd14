"""`doctor` looks at everything; `migrate` does the one thing it most often asks for."""

import json
import logging
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from analytics.client import connect as connect_clickhouse
from analytics.cold import move_when_old
from analytics.health import missing_migrations
from brokers.errors import UnavailableError
from brokers.health import server_health
from cli.api import Api
from cli.credentials import data_option, find_credentials, json_option
from cli.environment import adopt_running_servers
from cli.starting import migrate as migrate_both
from embedded.state import running_state
from hot_state.client import connect as connect_dragonfly
from hot_state.health import evicts
from models.database import Database
from models.errors import BatchSenderError, NeighbourUnavailableError
from models.queries.health import is_migrated, major_version
from settings import Settings, load

_POSTGRES = 18
_NATS = (2, 14)
#: NATS refuses everything on a full disk, and Postgres stops.
_FREE_BYTES = 500_000_000
_TIMEOUT_S = 5.0


@click.command()
@data_option
def migrate(data_dir: Path) -> None:
    """Bring the tables of Postgres and ClickHouse up to date."""
    adopt_running_servers(data_dir)
    found = load()
    migrate_both(
        found.database_url.get_secret_value(), found.clickhouse_url.get_secret_value()
    )
    if found.clickhouse_cold_policy:
        url = found.clickhouse_url.get_secret_value()
        with closing(connect_clickhouse(url)) as client:
            move_when_old(
                client,
                found.clickhouse_cold_policy,
                after_days=found.clickhouse_cold_after_days,
            )
    click.echo("Postgres and ClickHouse are up to date.")


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one check found.

    Attributes:
        detail: What is wrong and what to do, or what is there.
    """

    name: str
    ok: bool
    detail: str


@click.command()
@json_option
@data_option
@click.pass_context
def doctor(context: click.Context, data_dir: Path, *, as_json: bool) -> None:
    """Check every neighbour, and say what is wrong and what to do."""
    adopt_running_servers(data_dir)
    findings = _findings(data_dir)
    healthy = all(finding.ok for finding in findings)
    if as_json:
        checks = [asdict(finding) for finding in findings]
        click.echo(json.dumps({"ok": healthy, "checks": checks}))
    else:
        _show(findings)
    context.exit(0 if healthy else 1)


def _show(findings: list[_Finding]) -> None:
    table = Table("check", "", "what was found")
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else "[red]wrong[/]"
        table.add_row(finding.name, mark, finding.detail)
    Console().print(table)


def _findings(data_dir: Path) -> list[_Finding]:
    checks: dict[str, Callable[[], str]] = {}
    try:
        settings = load()
    except BatchSenderError as error:
        findings = [_Finding("settings", ok=False, detail=str(error))]
    else:
        findings = [_Finding("settings", ok=True, detail="complete")]
        checks |= {
            "Postgres": partial(_postgres, settings),
            "NATS": partial(_nats, settings),
            "Dragonfly": partial(_dragonfly, settings),
            "ClickHouse": partial(_clickhouse, settings),
        }
    if running_state(data_dir) is not None:
        checks["disk"] = partial(_disk, data_dir)
    checks["API"] = partial(_api, data_dir)
    return findings + [_finding(name, check) for name, check in checks.items()]


def _finding(name: str, check: Callable[[], str]) -> _Finding:
    try:
        return _Finding(name, ok=True, detail=check())
    except BatchSenderError as error:
        return _Finding(name, ok=False, detail=str(error))


def _postgres(settings: Settings) -> str:
    database = Database(settings.database_url.get_secret_value(), pool_size=1)
    with closing(database), database.transaction() as connection:
        version = major_version(connection)
        migrated = is_migrated(connection)
    if version < _POSTGRES:
        raise BatchSenderError(
            f"Postgres {version} is too old; use version {_POSTGRES} or newer."
        )
    if not migrated:
        raise BatchSenderError(
            "Postgres has not the tables of this version; run `batchsender migrate`."
        )
    return f"version {version}, migrated"


def _nats(settings: Settings) -> str:
    try:
        health = server_health(
            settings.nats_url,
            tls=settings.nats_tls,
            credentials=settings.nats_credentials or None,
        )
    except UnavailableError as error:
        raise NeighbourUnavailableError(f"{error} See NATS_URL.") from error
    version = ".".join(map(str, health.version))
    if health.version < _NATS:
        raise BatchSenderError(f"NATS {version} is too old; use 2.14 or newer.")
    if health.stored_bytes is None:
        raise BatchSenderError(
            "NATS runs without JetStream; start it with `jetstream` in its"
            " configuration, and let our account use it. If its disk was full, make"
            " room and start it again."
        )
    if health.is_full:
        raise BatchSenderError(
            "NATS takes no messages, its storage is full; give it room on its disk,"
            " raise its limit (max_file_store, or the account's), or remove what is"
            " not ours. Batches that wait go on by themselves then."
        )
    return f"version {version}, JetStream holds {health.stored_bytes / 1e6:,.1f} MB"


def _dragonfly(settings: Settings) -> str:
    url = settings.dragonfly_url.get_secret_value()
    try:
        client = connect_dragonfly(url)
    except ValueError as error:
        raise BatchSenderError(
            "DRAGONFLY_URL is no address; write it as redis://:password@host:6379/0."
        ) from error
    with closing(client):
        if evicts(client):
            raise BatchSenderError(
                "Dragonfly throws keys away when it is full; set maxmemory-policy"
                " noeviction (Dragonfly: cache_mode=false)."
            )
    return "keeps every key"


def _clickhouse(settings: Settings) -> str:
    url = settings.clickhouse_url.get_secret_value()
    # The library reports on stderr what we say in a sentence.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    try:
        with closing(connect_clickhouse(url, timeout_s=_TIMEOUT_S)) as client:
            missing = missing_migrations(client)
    except NeighbourUnavailableError as error:
        raise NeighbourUnavailableError(
            f"{error} Check CLICKHOUSE_URL and the server."
        ) from error
    if missing:
        raise BatchSenderError(
            f"ClickHouse has not the migrations {', '.join(missing)};"
            " run `batchsender migrate`."
        )
    return "migrated"


def _disk(data_dir: Path) -> str:
    free = shutil.disk_usage(data_dir).free
    if free < _FREE_BYTES:
        raise BatchSenderError(
            f"The disk of {data_dir} has {free / 1e6:,.0f} MB left; make room, or NATS"
            " and Postgres will refuse work."
        )
    return f"{free / 1e9:,.1f} GB free"


def _api(data_dir: Path) -> str:
    api = Api(find_credentials(data_dir))
    configs = api.configs()
    return f"{api.url} knows the key and {len(configs)} send configs"
