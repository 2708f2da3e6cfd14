"""Station 13: what stopped moving is taken up again, by evidence (rules 8 and 10)."""

import logging
from collections.abc import Callable, Mapping

from models.database import Database
from models.queries import recovery
from models.queries.braking import forget_old_rates
from scheduler.deeds import note
from scheduler.sync import REOPENS

log = logging.getLogger("batchsender.recovery")


class Recovery:
    """Remembers which tenants' queues were short at the last look."""

    def __init__(
        self,
        database: Database,
        stored: Callable[[], Mapping[str, int]],
        *,
        unknown_window_s: float,
        stuck_after_s: float,
    ) -> None:
        self._database = database
        self._stored = stored
        self._unknown_window_s = unknown_window_s
        self._stuck_after_s = stuck_after_s
        self._short: set[str] = set()

    def recover(self) -> int:
        """Do one round; returns how many chunks will be published or sent again.

        A queue that holds fewer messages than the ledger has published and not
        finished, twice running, has lost some. Copies of the others are harmless.
        `""` stands for the queue of all tenants' single messages. What the automatic
        brake looks at no more is deleted, too.
        """
        with self._database.transaction() as connection:
            again = recovery.reopen_unknown(
                connection, window_s=self._unknown_window_s, reopens=REOPENS
            )
            forget_old_rates(connection)
        if again:
            note("chunks.reopened", "chunks", chunks=again)
        with self._database.statement() as connection:
            before = recovery.now(connection)
        stored = self._stored()
        with self._database.statement() as connection:
            published = recovery.published_unfinished(connection, before=before)
            short = {t for t, chunks in published.items() if stored.get(t, 0) < chunks}
            lost = short & self._short
            stuck = recovery.stuck_batches(connection, after_s=self._stuck_after_s)
            for batch_id, tenant_id in stuck:
                log.warning("Batch %s does not move.", batch_id)
                note("batch.stuck", "batch", str(batch_id))
                lost.add(tenant_id)
            for tenant in lost:
                chunks = recovery.republish(connection, tenant)
                whose = tenant or "of single messages"
                log.warning("Tenant %s: %s chunks published anew.", whose, chunks)
                note("chunks.republished", "tenant", tenant, chunks=chunks)
                again += chunks
        self._short = short - lost
        return again
