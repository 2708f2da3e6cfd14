"""Whether ClickHouse has the tables that this code was written for."""

from dataclasses import dataclass

from analytics.client import Client
from analytics.migrations import MIGRATIONS


def missing_migrations(client: Client) -> list[str]:
    """Return the names of the migrations that are not applied, in their order.

    Raises:
        BatchSenderError: It does not answer, or no migration was ever applied.
    """
    applied = {name for (name,) in client.rows("SELECT name FROM schema_migrations")}
    known = sorted(file.stem for file in MIGRATIONS.glob("*.sql"))
    return [name for name in known if name not in applied]


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that ClickHouse stores on; sizes are in bytes."""

    name: str
    free: int
    total: int


def disks(client: Client) -> list[Disk]:
    """Return ClickHouse's own disks; a cold tier elsewhere has no size.

    Raises:
        BatchSenderError: It does not answer, or refuses.
    """
    found = client.rows(
        "SELECT name, free_space, total_space FROM system.disks WHERE type = 'Local'"
    )
    return [Disk(*row) for row in found]
