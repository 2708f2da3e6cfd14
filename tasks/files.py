"""The files that batches carry, read once and kept while there is room."""

import threading
from collections import OrderedDict

from models.database import Database
from models.errors import InvalidInputError
from models.plan import Plan
from models.queries.attachments import attachment_contents
from providers.provider import File

#: What a process keeps of files, whatever number of batches it sends.
MOST_BYTES = 64 * 1024 * 1024


class Files:
    """The latest batches' files; safe for many threads.

    Fails closed: while Postgres is away, a file that is not kept cannot be had, and no
    call begins anyway.
    """

    def __init__(self, database: Database, *, most_bytes: int = MOST_BYTES) -> None:
        self._database = database
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def of(self, plan: Plan) -> tuple[File, ...]:
        """Return what each message of a plan carries, mostly nothing."""
        if not plan.content.get("attachments"):
            return ()
        about = plan.attachments
        with self._lock:
            found = self._found(plan.tenant_id, {one.sha256 for one in about})
        return tuple(File(one, found[one.sha256]) for one in about)

    def _found(self, tenant_id: str, hashes: set[str]) -> dict[str, bytes]:
        found = {h: self._kept[tenant_id, h] for h in hashes if self._has(tenant_id, h)}
        if missing := hashes - found.keys():
            with self._database.statement() as connection:
                found.update(attachment_contents(connection, tenant_id, missing))
        if hashes - found.keys():
            raise InvalidInputError("A file of the batch is not stored any more.")
        for one in hashes:
            self._kept[tenant_id, one] = found[one]
            self._kept.move_to_end((tenant_id, one))
        while sum(map(len, self._kept.values())) > self._most_bytes:
            self._kept.popitem(last=False)
        return found

    def _has(self, tenant_id: str, one: str) -> bool:
        return (tenant_id, one) in self._kept
