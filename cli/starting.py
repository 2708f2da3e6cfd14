"""Start everything on this machine, for as long as it is needed."""

import base64
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from analytics.client import connect
from analytics.migrations import migrate as migrate_clickhouse
from cli.credentials import Credentials, saved_credentials
from cli.environment import SERVERS, Given
from cli.machine import Machine, sink_ledger
from embedded.data_dir import choose_ports, passwords
from embedded.process import ProcessSpec
from embedded.services import (
    LISTENING,
    WATCHED,
    metrics_dir,
    metrics_name,
    services,
)
from embedded.stack import Stack
from embedded.state import running_state
from embedded.supervisor import Supervisor
from models.database import Database
from models.errors import ConflictError
from models.queries.api_keys import SCOPES, create_api_key, valid_key
from models.queries.tenants import create_tenant, tenant_named

_TENANT = "demo"
_MIGRATION_TIMEOUT_S = 60.0


class _Stack(Stack):
    """The servers that were not given, and the addresses of all."""

    def __init__(self, data_dir: Path, given: Mapping[str, str]) -> None:
        ours = [server for name, server in SERVERS.items() if name not in given]
        super().__init__(data_dir, names=ours)
        self._given = given

    def urls(self) -> dict[str, str]:
        """Return ours, and those that were given."""
        return {**super().urls(), **self._given}


@contextmanager
def started_machine(
    data_dir: Path, *, web_port: int | None = None, names: Collection[str] = ()
) -> Iterator[Machine]:
    """Start everything, and stop it all at the end, whatever the end is.

    Servers that the environment names are used and not started. The tables are
    brought up to date, and the demo tenant gets a key, once.

    Args:
        data_dir: Where everything is kept; made when missing.
        web_port: Where the API shall listen; a free port, the same every time, when
            None.
        names: Which of our own processes to start; all when empty.

    Raises:
        ConflictError: It is up already, or the port is taken.
        StartError: A process did not come up.
        NeighbourUnavailableError: A server that was given does not answer.
    """
    check_down(data_dir)
    given = Given()
    insisted = {} if web_port is None else {"web": web_port}
    names_of_ports = (*LISTENING, *map(metrics_name, WATCHED))
    ports = choose_ports(data_dir, names_of_ports, explicit=insisted)
    stack = _Stack(data_dir, given.urls())
    with Supervisor(stack, data_dir, ports) as supervisor:
        urls = stack.urls()
        migrate(urls["DATABASE_URL"], urls["CLICKHOUSE_URL"])
        url = f"http://127.0.0.1:{ports['web']}"
        credentials = _credentials(data_dir, urls["DATABASE_URL"], url)
        environment = {**urls, **_secrets(data_dir, given), "PUBLIC_URL": url}
        environment["ENDPOINT_NETWORKS"] = given.endpoint_networks
        environment["SPOOL_DIR"] = str(data_dir.absolute() / "spool")
        if given.public_url:
            environment["PUBLIC_URL"] = given.public_url
        # Who counted there is gone, and counters begin anew.
        shutil.rmtree(metrics_dir(data_dir), ignore_errors=True)
        specs = services(environment, ports, data_dir)
        supervisor.start_services(
            [
                _with_ledger(spec, data_dir)
                for spec in specs
                if not names or spec.name in names
            ]
        )
        yield Machine(data_dir, ports, credentials)


def check_down(data_dir: Path) -> None:
    """Raise `ConflictError` when it is up here already."""
    if running_state(data_dir) is not None:
        raise ConflictError(
            f"BatchSender is already up in {data_dir}: use it, end it with "
            "`batchsender down`, or name another directory with --data."
        )


def migrate(database_url: str, clickhouse_url: str) -> None:
    """Bring the tables of Postgres and ClickHouse up to date; again does nothing.

    Raises:
        NeighbourUnavailableError: One of them does not answer.
    """
    database = Database(database_url, pool_size=1)
    try:
        database.migrate()
    finally:
        database.close()
    client = connect(clickhouse_url, timeout_s=_MIGRATION_TIMEOUT_S)
    try:
        migrate_clickhouse(client)
    finally:
        client.close()


def _credentials(data_dir: Path, database_url: str, url: str) -> Credentials:
    """Return the demo tenant's; a new key only where the one kept does not work."""
    kept = saved_credentials(data_dir)
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction() as connection:
            api_key = kept.api_key if kept else ""
            known = valid_key(connection, api_key)
            if known is None or not known.scopes.issuperset(SCOPES):
                tenant_id = tenant_named(connection, _TENANT)
                tenant_id = tenant_id or create_tenant(connection, _TENANT)
                api_key = create_api_key(
                    connection, tenant_id, "batchsender up", scopes=SCOPES
                )
    finally:
        database.close()
    credentials = Credentials(url, api_key)
    credentials.save(data_dir)
    return credentials


def _secrets(data_dir: Path, given: Given) -> dict[str, str]:
    """Return the secrets that nobody gave, the same ones every time."""
    names = ("session", "credentials", "unsubscribe", "webhooks")
    made = passwords(data_dir, names)
    # The box takes 32 bytes; these are letters of 128 random bits.
    key = base64.b64encode(made["credentials"].encode()).decode()
    webhooks_key = base64.b64encode(made["webhooks"].encode()).decode()
    return {
        "SESSION_SECRET": given.session_secret or made["session"],
        "CREDENTIALS_KEY": given.credentials_key or key,
        "UNSUBSCRIBE_KEYS": given.unsubscribe_keys or made["unsubscribe"],
        "WEBHOOK_SECRETS_KEY": given.webhook_secrets_key or webhooks_key,
    }


def _with_ledger(spec: ProcessSpec, data_dir: Path) -> ProcessSpec:
    if spec.name != "sink":
        return spec
    return replace(spec, argv=(*spec.argv, "--ledger", str(sink_ledger(data_dir))))
