"""Send configs' webhook secrets, and which of them the receiver has not heard of.

A change raises `webhook_revision`; who has carried a secret to the receiver sets
`webhook_published` to what it carried. Where they differ, there is something to do.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from models.errors import ConflictError, NotFoundError

# The clock's, so that it has grown even where the database was restored meanwhile.
_CHANGE = text(
    """
    update send_configs set
        webhook_secret = :sealed,
        webhook_revision = greatest(
            webhook_revision + 1,
            cast(extract(epoch from clock_timestamp()) * 1000 as bigint)
        )
    where id = :config_id and tenant_id = :tenant_id and mode = 'byok'
    """
)
_UNPUBLISHED = text(
    """
    select id, webhook_revision, webhook_secret from send_configs
    where webhook_published <> webhook_revision order by id limit :most
    """
)
_MARK = text(
    """
    update send_configs set webhook_published = :revision
    where id = :config_id and webhook_revision = :revision
    """
)
_KNOWN = text(
    """
    select id from send_configs where webhook_revision <> 0
        and (cast(:after as uuid) is null or id > :after)
    order by id limit :limit
    """
)
_LOST = text(
    "update send_configs set webhook_published = 0 where id = any(cast(:ids as uuid[]))"
)


@dataclass(frozen=True, slots=True)
class Unpublished:
    """A secret that the receiver has not heard of.

    Attributes:
        config_id: The config.
        revision: Grows with each change.
        sealed: What `WebhookSecret.seal` returned.
    """

    config_id: UUID
    revision: int
    sealed: bytes


def change_webhook_secret(
    connection: Connection,
    tenant_id: UUID,
    config: Mapping[str, Any],
    sealed: bytes,
) -> None:
    """Give a config's reports other secrets; the receiver knows them within seconds.

    Raises:
        NotFoundError: The tenant has no such config.
        ConflictError: Its reports are the platform's.
    """
    if config["mode"] == "managed":
        raise ConflictError(
            "The config sends by the platform's account, whose reports the platform "
            "takes; it has no webhook secret."
        )
    given = {"config_id": config["id"], "tenant_id": tenant_id, "sealed": sealed}
    if not connection.execute(_CHANGE, given).rowcount:
        raise NotFoundError(f"There is no send config {config['id']}.")


def unpublished_webhook_secrets(
    connection: Connection, *, most: int
) -> list[Unpublished]:
    """Return what the receiver has not heard of, at most so many."""
    found = connection.execute(_UNPUBLISHED, {"most": most})
    return [Unpublished(id_, revision, bytes(s)) for id_, revision, s in found]


def mark_webhook_secrets_published(
    connection: Connection, published: Collection[Unpublished]
) -> None:
    """Note what was carried; what changed meanwhile is still to be carried."""
    if published:
        given = [{"config_id": p.config_id, "revision": p.revision} for p in published]
        connection.execute(_MARK, given)


def configs_with_webhook_secrets(
    connection: Connection, *, after: UUID | None, limit: int = 5000
) -> list[UUID]:
    """Return the ids of configs that the receiver should know, by id."""
    found = connection.execute(_KNOWN, {"after": after, "limit": limit})
    return list(found.scalars())


def publish_webhook_secrets_again(
    connection: Connection, config_ids: Collection[UUID]
) -> None:
    """Have these carried once more."""
    connection.execute(_LOST, {"ids": list(config_ids)})
