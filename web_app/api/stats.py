"""A batch's numbers from the event log."""

from datetime import UTC, datetime
from uuid import UUID

from flask import Blueprint, Response

from models.errors import NeighbourUnavailableError
from models.queries.reads import batch_by_id
from web_app.auth import caller
from web_app.bodies import answer
from web_app.services import services

stats = Blueprint("stats", __name__, url_prefix="/api/batches/<uuid:batch_id>/stats")


@stats.get("")
def show(batch_id: UUID) -> Response:
    """Show what the event log has counted so far; 503 while it is away."""
    tenant_id = caller()
    with services().database.statement() as connection:
        batch_by_id(connection, tenant_id, batch_id)
    count = services().neighbours.batch_stats
    if count is None:
        raise NeighbourUnavailableError("No event log is connected to this process.")
    return answer({**count(batch_id), "asOf": datetime.now(UTC)})
