"""Which neighbours the environment names, before all of them are known."""

import os
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from embedded.services import LOOPBACK
from embedded.state import running_state

#: From a neighbour's variable to the embedded server that stands in for it.
SERVERS = {
    "DATABASE_URL": "postgres",
    "NATS_URL": "nats",
    "DRAGONFLY_URL": "dragonfly",
    "CLICKHOUSE_URL": "clickhouse",
}


class Given(BaseSettings):
    """What may be given or left to us: by environment or `.env`, as all settings."""

    model_config = SettingsConfigDict(frozen=True, env_file=".env", extra="ignore")

    database_url: str = ""
    nats_url: str = ""
    dragonfly_url: str = ""
    clickhouse_url: str = ""
    session_secret: str = ""
    credentials_key: str = ""
    unsubscribe_keys: str = ""
    webhook_secrets_key: str = ""
    public_url: str = ""
    endpoint_networks: str = LOOPBACK

    def urls(self) -> dict[str, str]:
        """Return the neighbours that were given, by their variable."""
        named = {name: str(getattr(self, name.lower())) for name in SERVERS}
        return {name: url for name, url in named.items() if url}


def adopt_running_servers(data_dir: Path) -> None:
    """Put the addresses of the servers that are up here into the environment.

    What is named there already stays; without running servers nothing changes.
    """
    state = running_state(data_dir)
    if state is not None:
        for name, url in state.urls.items():
            os.environ.setdefault(name, url)
        os.environ.setdefault("SPOOL_DIR", str(data_dir.absolute() / "spool"))
