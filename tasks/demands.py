"""What providers' answers demand beyond their own calls: holds and suppressions.

The provider's next answer says both again, so where Postgres is away they are left for
that one (fail open): no call begins meanwhile without Postgres anyway.
"""

import logging
from collections.abc import Mapping, Sequence

from models.database import Database
from models.errors import NeighbourUnavailableError
from models.outcome import Answer, Hold
from models.plan import Plan
from models.queries import holding

log = logging.getLogger("batchsender.send")


class Demands:
    """Writes into Postgres what providers demand."""

    def __init__(self, database: Database) -> None:
        """Begin without a connection."""
        self._database = database

    def heed(
        self,
        plan: Plan,
        answers: Sequence[Answer],
        addresses: Sequence[Sequence[str]],
    ) -> None:
        """Suppress and hold what answers demand; `addresses` are calls' members'."""
        holds = {answer.hold for answer in answers if answer.hold is not None}
        self._write(plan, holds, _reasons(answers, addresses))

    def hold(self, plan: Plan, asked: Hold) -> None:
        """Stop what the provider wants stopped."""
        self._write(plan, {asked}, {})

    def _write(self, plan: Plan, holds: set[Hold], reasons: Mapping[str, str]) -> None:
        try:
            with self._database.transaction() as connection:
                if reasons:
                    holding.suppress(connection, plan, reasons)
                for one in holds:
                    if holding.hold(connection, plan, one):
                        log.warning("Config %s: %s", plan.config_id, one.reason)
        except NeighbourUnavailableError as error:
            log.warning("A provider's demand is left to its next answer: %s", error)


def _reasons(
    answers: Sequence[Answer], addresses: Sequence[Sequence[str]]
) -> Mapping[str, str]:
    return {
        called[member]: reason
        for answer, called in zip(answers, addresses, strict=True)
        for member, reason in answer.suppress.items()
    }
