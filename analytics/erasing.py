"""What may lead to a person, taken out of ClickHouse (ADR 0045)."""

from collections.abc import Sequence

from analytics.client import Client
from analytics.message_index import Place
from analytics.sql import statement


def erase(client: Client, places: Sequence[Place]) -> None:
    """Empty recipients' message ids and reasons, and forget the ids.

    Their events stay: they count in statistics and name nobody. Done when it returns;
    again changes nothing. Raises `NeighbourUnavailableError`.

    Args:
        client: Its user may change tables.
        places: Few: each call rewrites the parts they are in.
    """
    if not places:
        return
    given = {
        "tenants": [place.tenant_id for place in places],
        "batches": [place.batch_id for place in places],
        "seqs": [place.seq for place in places],
    }
    for name in ("erase_events", "erase_index"):
        client.command(statement(name), given)
