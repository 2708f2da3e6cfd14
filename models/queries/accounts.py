"""Whose account a config sends by: its revision, and its sealed credentials.

The revision and the credentials are changed and read together, always in one statement.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from models.errors import ConflictError, NotFoundError

_SEALED = text("select revision, credentials from send_configs where id = :config_id")
_STANDINGS = text(
    """
    select id, revision, held_reason is not null as is_held
    from send_configs where id = any(cast(:ids as uuid[]))
    """
)
_CHANGE = text(
    """
    update send_configs set credentials = :sealed, revision = revision + 1
    where id = :config_id and tenant_id = :tenant_id and mode = 'byok'
    """
)
_PAGE = text(
    """
    select id, credentials from send_configs
    where credentials is not null and (cast(:after as uuid) is null or id > :after)
    order by id limit :limit
    """
)
# The same account under another key: the revision stays. Where the credentials were
# changed meanwhile, they were sealed by the new key already.
_RESEAL = text(
    """
    update send_configs set credentials = :sealed
    where id = :config_id and credentials = :before
    """
)


def sealed_account(connection: Connection, config_id: str) -> tuple[int, bytes | None]:
    """Return a config's revision and its credentials (see `models.credentials`)."""
    row = connection.execute(_SEALED, {"config_id": config_id}).one()
    return row.revision, None if row.credentials is None else bytes(row.credentials)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a config stands.

    Attributes:
        revision: Grows with each change of its account.
        is_held: Nothing may be sent by it until it is resumed.
    """

    revision: int
    is_held: bool = False


def standings(
    connection: Connection, config_ids: Collection[str]
) -> Mapping[str, Standing]:
    """Return how configs stand, by their ids."""
    found = connection.execute(_STANDINGS, {"ids": list(config_ids)})
    return {str(row.id): Standing(row.revision, row.is_held) for row in found}


def change_credentials(
    connection: Connection,
    tenant_id: UUID,
    config: Mapping[str, Any],
    sealed: bytes | None,
) -> None:
    """Give a config other credentials: from then on it is another account.

    Calls that were begun by the former one and not answered are not repeated by the
    new one; their recipients become unknown.

    Raises:
        NotFoundError: The tenant has no such config.
        ConflictError: It sends by the platform's account.
    """
    if config["mode"] == "managed":
        raise ConflictError(
            "The config sends by the platform's account and has no credentials."
        )
    given = {"config_id": config["id"], "tenant_id": tenant_id, "sealed": sealed}
    if not connection.execute(_CHANGE, given).rowcount:
        raise NotFoundError(f"There is no send config {config['id']}.")


def credentials_page(
    connection: Connection, *, after: UUID | None, limit: int = 500
) -> list[tuple[UUID, bytes]]:
    """Return configs by id with their sealed credentials, those behind `after`."""
    found = connection.execute(_PAGE, {"after": after, "limit": limit})
    return [(config_id, bytes(sealed)) for config_id, sealed in found]


def reseal_credentials(
    connection: Connection, config_id: UUID, *, before: bytes, sealed: bytes
) -> bool:
    """Keep the same credentials under another key; tell whether that was done."""
    given = {"config_id": config_id, "before": before, "sealed": sealed}
    return connection.execute(_RESEAL, given).rowcount > 0
