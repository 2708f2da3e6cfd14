"""Under which limits a plan is sent now: its levels, with the overrides of Postgres.

Overrides are read again every two seconds by whoever meets an old list first; the
others go on with the one they have. Fails open: while Postgres is away the last list
holds, and no call begins without Postgres anyway.
"""

import logging
import time
from collections.abc import Mapping
from threading import Lock

from models.database import Database
from models.errors import NeighbourUnavailableError
from models.levels import Level, levels
from models.limit import Limit
from models.plan import Plan
from models.queries.limits import overrides

log = logging.getLogger("batchsender.limits")

#: A changed override holds everywhere after this time, in seconds.
FRESH_S = 2.0
#: Plans whose levels a process remembers.
_REMEMBERED = 1000


class Limits:
    """Every plan's levels, computed once for each list of overrides."""

    def __init__(self, database: Database, *, system_per_s: float) -> None:
        """Begin without a list; the first who asks reads it."""
        self._database = database
        self._system_per_s = system_per_s
        self._lock = Lock()
        self._read_at = float("-inf")
        self._overrides: dict[str, Limit] = {}
        self._levels: dict[tuple[str, str], tuple[Level, ...]] = {}

    def of(self, plan: Plan) -> tuple[Level, ...]:
        """Return a plan's levels by overrides that are at most 2 s old."""
        if time.monotonic() - self._read_at > FRESH_S:
            self._refresh()
        # The list's own dictionary: who began with an old list must not fill a new one.
        known = self._levels
        key = (plan.batch_id, plan.config_id)
        if key not in known:
            known[key] = levels(
                plan.sending, self._overrides, system_per_s=self._system_per_s
            )
        return known[key]

    def _refresh(self) -> None:
        # Nothing is known before the first list: then all wait for it.
        if not self._lock.acquire(blocking=self._read_at == float("-inf")):
            return
        try:
            if time.monotonic() - self._read_at > FRESH_S:
                self._read()
        finally:
            self._lock.release()

    def _read(self) -> None:
        asked_at = time.monotonic()
        try:
            with self._database.statement() as connection:
                self._use(overrides(connection))
        except NeighbourUnavailableError as error:
            log.warning("Limits stay as they were: %s", error)
        self._read_at = asked_at

    def _use(self, found: Mapping[str, Limit]) -> None:
        if found != self._overrides or len(self._levels) >= _REMEMBERED:
            self._overrides = dict(found)
            self._levels = {}
