"""Everything a send depends on, checked and fixed: for a batch or a single message."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from models.capabilities import capabilities
from models.content import Content
from models.errors import InvalidInputError
from models.payload import check_carried
from models.plan import Plan
from models.queries.attachments import attachment_sizes
from models.queries.tenants import fallback_config
from models.unsubscribe import Unsubscribing
from web_app.services import services


def sealed(
    connection: Connection,
    batch: Mapping[str, Any],
    content: Content,
    *,
    largest_chunk: int,
) -> Plan:
    """Return the plan of a batch with its config under `config`.

    Raises `InvalidInputError` when its provider, or its fall-back's, cannot carry the
    content, or a file is missing or too large.
    """
    config = batch["config"]
    fallback = fallback_config(connection, config)
    for one in (config, fallback):
        if one is not None:
            check_carried(content, capabilities(one["provider"], one["settings"]))
    _check_files(connection, batch, content)
    return Plan.seal(
        batch,
        config,
        largest_chunk=largest_chunk,
        unsubscribing=_unsubscribing(content),
        fallback=fallback,
    )


def _check_files(
    connection: Connection, batch: Mapping[str, Any], content: Content
) -> None:
    """Raise when a file is missing or too large."""
    if not content.attachments:
        return
    hashes = [one.sha256 for one in content.attachments]
    sizes = attachment_sizes(connection, batch["tenant_id"], hashes)
    for one in content.attachments:
        if one.sha256 not in sizes:
            raise InvalidInputError(
                f"The file “{one.filename}” is not here; post it to /api/attachments.",
                field="payload.attachments",
            )
    most = services().max_attachment_bytes
    if sum(sizes[one] for one in hashes) > most:
        raise InvalidInputError(
            f"The files take more than {most:,} bytes together; link to them instead.",
            field="payload.attachments",
        )


def _unsubscribing(content: Content) -> Unsubscribing | None:
    return services().unsubscribing() if content.list_unsubscribe else None
