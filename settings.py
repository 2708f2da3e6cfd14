"""The environment, read once into a frozen value where a process is put together."""

import os
import ssl
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.errors import InvalidInputError
from models.timing import Timing


class Settings(BaseSettings):
    """Every setting; `.env.example` says what each is for."""

    model_config = SettingsConfigDict(frozen=True, env_file=".env", extra="ignore")

    database_url: SecretStr
    #: May hold a password.
    nats_url: str = Field(repr=False)
    dragonfly_url: SecretStr
    clickhouse_url: SecretStr
    database_pool_size: int = Field(default=20, ge=2)
    database_pool_timeout_s: float = Field(default=30, gt=0)
    database_prepare: bool = True
    nats_replicas: int = Field(default=1, ge=1, le=5)
    email_shards: int = Field(default=1, ge=1, le=64)
    nats_credentials: str = ""
    nats_ca: str = ""
    nats_certificate: str = ""
    nats_key: str = ""

    credentials_key: SecretStr = SecretStr("")
    session_secret: SecretStr = SecretStr("")
    public_url: str = "http://127.0.0.1:3000"
    max_upload_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    max_attachment_bytes: int = Field(default=5 * 1024 * 1024, ge=1, le=30_000_000)
    unsubscribe_keys: SecretStr = SecretStr("")

    resend_webhook_secret: SecretStr = SecretStr("")
    ses_webhook_secret: SecretStr = SecretStr("")
    telnyx_public_key: str = ""
    custom_webhook_secret: SecretStr = SecretStr("")
    webhook_secrets_key: SecretStr = SecretStr("")
    trusted_proxies: str = ""
    resend_api_key: SecretStr = SecretStr("")
    aws_access_key_id: str = ""
    aws_secret_access_key: SecretStr = SecretStr("")
    aws_region: str = "eu-central-1"
    telnyx_api_key: SecretStr = SecretStr("")
    lime_user: str = ""
    lime_api_id: SecretStr = SecretStr("")

    postgres_sync_enabled: bool = True
    postgres_sync_interval_ms: int = Field(default=2000, ge=50)
    discovery_interval_ms: int = Field(default=2000, ge=50)
    recovery_interval_s: float = Field(default=60, gt=0)
    stuck_after_s: float = Field(default=300, gt=0)
    leader_lease_s: float = Field(default=10, ge=1)

    max_concurrent_emails: int = Field(default=100, ge=1)
    concurrent_batches: int = Field(default=2, ge=1)
    worker_processes: int = Field(default=2, ge=1)
    worker_threads: int = Field(default=8, ge=1)
    priority_threads: int = Field(default=8, ge=1)

    expand_page_size: int = Field(default=1000, ge=1)
    chunk_size: int = Field(default=500, ge=1, le=5000)
    system_rate_per_s: float = Field(default=1_000_000, gt=0)
    call_deadline_s: float = Field(default=20, gt=0)
    call_margin_s: float = Field(default=5, gt=0)
    lease_s: float = Field(default=45, gt=0)
    ack_wait_s: float = Field(default=60, gt=0)
    endpoint_networks: str = ""
    endpoint_ports: str = "80,443"
    breaker_failures: int = Field(default=5, ge=1)
    breaker_wait_s: float = Field(default=5, gt=0)
    breaker_longest_wait_s: float = Field(default=60, gt=0)
    key_life_s: float = Field(default=24 * 3600, gt=0)
    unknown_window_s: float = Field(default=90, gt=0)
    brake_min_sends: int = Field(default=500, ge=1)
    brake_bounce_rate: float = Field(default=0.10, ge=0, le=1)
    brake_complaint_rate: float = Field(default=0.003, ge=0, le=1)

    outgoing_threads: int = Field(default=16, ge=1)
    outgoing_deadline_s: float = Field(default=15, gt=0, le=60)
    outgoing_disable_after_s: float = Field(default=5 * 24 * 3600, gt=0)
    outgoing_keep_s: float = Field(default=7 * 24 * 3600, gt=0)

    spool_dir: Path = Path(".batchsender/spool")
    spool_cap_bytes: int = Field(default=512 * 1024 * 1024, ge=1024 * 1024)
    clickhouse_cold_policy: str = ""
    clickhouse_cold_after_days: int = Field(default=90, ge=1)

    log_level: str = "INFO"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65535)
    prometheus_multiproc_dir: str = ""

    @cached_property
    def timing(self) -> Timing:
        """Return the times around a call, checked against each other."""
        return Timing(
            call_deadline_s=self.call_deadline_s,
            margin_s=self.call_margin_s,
            lease_s=self.lease_s,
            ack_wait_s=self.ack_wait_s,
        )

    @cached_property
    def nats_tls(self) -> ssl.SSLContext | None:
        """Return how to speak TLS with NATS; none for the system's defaults.

        Raises `InvalidInputError` where a file cannot be used.
        """
        if not (self.nats_ca or self.nats_certificate):
            return None
        try:
            context = ssl.create_default_context(cafile=self.nats_ca or None)
            if self.nats_certificate:
                context.load_cert_chain(self.nats_certificate, self.nats_key or None)
        except OSError as error:
            raise InvalidInputError(
                "The files of NATS_CA, NATS_CERTIFICATE or NATS_KEY cannot be used "
                f"({error.strerror or error})."
            ) from error
        return context

    def managed_credentials(self) -> dict[str, dict[str, str]]:
        """Return the platform's own credentials, of providers that it has all of."""
        found = {
            "resend": {"apiKey": self.resend_api_key.get_secret_value()},
            "ses": {
                "accessKeyId": self.aws_access_key_id,
                "secretAccessKey": self.aws_secret_access_key.get_secret_value(),
            },
            "telnyx": {"apiKey": self.telnyx_api_key.get_secret_value()},
            "lime": {
                "user": self.lime_user,
                "apiId": self.lime_api_id.get_secret_value(),
            },
        }
        return {name: given for name, given in found.items() if all(given.values())}

    def managed_settings(self) -> dict[str, dict[str, str]]:
        """Return what a managed config cannot choose, by provider."""
        fixed = {"ses": {"region": self.aws_region}}
        return {name: fixed.get(name, {}) for name in self.managed_credentials()}

    def webhook_secrets(self) -> dict[str, str]:
        """Return by what the platform's own accounts sign, by provider."""
        return {
            "resend": self.resend_webhook_secret.get_secret_value(),
            "ses": self.ses_webhook_secret.get_secret_value(),
            "telnyx": self.telnyx_public_key,
            "custom": self.custom_webhook_secret.get_secret_value(),
        }

    def nats_options(self) -> dict[str, Any]:
        """Return what a broker must know of the servers beside their URLs."""
        return {
            "replicas": self.nats_replicas,
            "tls": self.nats_tls,
            "credentials": self.nats_credentials or None,
        }


class FailoverSettings(BaseSettings):
    """What `batchsender dns-failover` needs, and nothing else of the environment."""

    model_config = SettingsConfigDict(frozen=True, env_file=".env", extra="ignore")

    cloudflare_api_token: SecretStr = SecretStr("")
    cloudflare_zone_id: str = ""
    falkenstein_ip: str = ""
    ashburn_ip: str = ""
    #: Whoever knows it can write there.
    alert_webhook: SecretStr = SecretStr("")


def load() -> Settings:
    """Read the environment and `.env`.

    Raises `InvalidInputError`, which names every variable that is missing or wrong
    and never shows a value.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"{str(problem['loc'][0]).upper()}: {problem['msg']}"
            for problem in error.errors()
        )
        raise InvalidInputError(
            f"The environment is not complete ({wrong}); see .env.example."
        ) from error
    if settings.timing.lease_s * 2 > settings.unknown_window_s:
        raise InvalidInputError(
            "UNKNOWN_WINDOW_S must be at least twice LEASE_S.", field="UNKNOWN_WINDOW_S"
        )
    # The metrics' library reads the environment alone, before there are settings.
    if settings.metrics_port and not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        raise InvalidInputError(
            "METRICS_PORT needs PROMETHEUS_MULTIPROC_DIR, a directory of this service "
            "alone, in the environment itself and not in .env.",
            field="PROMETHEUS_MULTIPROC_DIR",
        )
    return settings
