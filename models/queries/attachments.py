"""Files that batches carry: stored once for a tenant, found by their hash.

Another tenant's file of the same hash is another row: nobody can get a file by guessing
what others have.
"""

import hashlib
from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from models.tables import attachments


def store_attachment(connection: Connection, tenant_id: UUID, content: bytes) -> str:
    """Return the file's SHA-256 in hexadecimal; a second time nothing is stored."""
    digest = hashlib.sha256(content).digest()
    connection.execute(
        insert(attachments)
        .values(tenant_id=tenant_id, sha256=digest, content=content)
        .on_conflict_do_nothing()
    )
    return digest.hex()


def attachment_sizes(
    connection: Connection, tenant_id: UUID, hashes: Collection[str]
) -> Mapping[str, int]:
    """Return the sizes in bytes of those of the files that the tenant has."""
    found = connection.execute(
        select(attachments.c.sha256, func.length(attachments.c.content)).where(
            attachments.c.tenant_id == tenant_id,
            attachments.c.sha256.in_([bytes.fromhex(one) for one in hashes]),
        )
    )
    return {bytes(sha256).hex(): size for sha256, size in found}


def attachment_contents(
    connection: Connection, tenant_id: str, hashes: Collection[str]
) -> Mapping[str, bytes]:
    """Return the files by their hashes; those that the tenant has not are missing."""
    found = connection.execute(
        select(attachments.c.sha256, attachments.c.content).where(
            attachments.c.tenant_id == UUID(tenant_id),
            attachments.c.sha256.in_([bytes.fromhex(one) for one in hashes]),
        )
    )
    return {bytes(sha256).hex(): bytes(content) for sha256, content in found}
