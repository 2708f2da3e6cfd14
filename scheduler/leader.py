"""Who leads. Leading saves work; no duty needs it to be right."""

import logging

from hot_state.lock import Lease
from models.errors import NeighbourUnavailableError
from telemetry import LEADS

log = logging.getLogger("batchsender.leader")


class Leader:
    """This process's part in the election.

    Fails open: while Dragonfly is away every scheduler leads. Each duty is a
    compare-and-set in Postgres, so the work is done twice at most (rule 1).
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._leads: bool | None = None

    def leads(self) -> bool:
        """Tell whether to do a duty now; renews the lease."""
        try:
            leads = self._lease.acquire()
        except NeighbourUnavailableError as error:
            log.warning("Leading without a lease: %s", error)
            leads = True
        if leads != self._leads:
            log.info("This scheduler %s.", "leads" if leads else "follows")
        self._leads = leads
        LEADS.set(leads)
        return leads

    def resign(self) -> None:
        """Let another lead at once; away is as good as resigned."""
        LEADS.set(0)
        try:
            self._lease.release()
        except NeighbourUnavailableError as error:
            log.info("The lease ends by itself: %s", error)
