"""By what the reports of a tenant's own account are believed: taken, never shown."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from models.queries.tenants import config_by_id
from models.queries.webhook_secrets import change_webhook_secret
from models.webhook_secrets import WebhookSecret, checked_secrets
from web_app.services import services


def change(
    connection: Connection, row: Mapping[str, Any], given: Any
) -> dict[str, Any]:
    """Store what a tenant gave for a config; return the config as it is now.

    Args:
        connection: In a transaction.
        row: The config.
        given: As `checked_secrets` takes it; none takes all secrets back, so that no
            report is believed.

    Raises:
        InvalidInputError: It is no secret of this provider, or the server lacks the
            key to seal it by.
        ConflictError: The config sends by the platform's account.
    """
    provider, config_id = row["provider"], row["id"]
    secrets = () if given is None else checked_secrets(provider, given)
    secret = WebhookSecret(str(config_id), provider, secrets)
    sealed = secret.seal(services().webhook_secrets_key)
    change_webhook_secret(connection, row["tenant_id"], row, sealed)
    return config_by_id(connection, row["tenant_id"], config_id)


def path_of(row: Mapping[str, Any]) -> str | None:
    """Return where the provider reports to; none where it was never given a secret."""
    if not row["has_webhook_secret"]:
        return None
    return f"/webhooks/{row['provider']}/{row['id']}"
