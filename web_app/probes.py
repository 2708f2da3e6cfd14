"""Whether this process lives, and whether it can serve."""

from flask import Blueprint, Response

from models.errors import NeighbourUnavailableError
from web_app.bodies import answer
from web_app.services import services

probes = Blueprint("probes", __name__)


@probes.get("/health")
@probes.get("/health/live")
def live() -> Response:
    """Answer 200 as long as the process answers at all."""
    return answer({"status": "ok"})


@probes.get("/health/ready")
def ready() -> Response:
    """Answer 200 with each neighbour's state; 503 when Postgres is away.

    The other neighbours only show something: without them batches are taken as ever.
    """
    pings = {"postgres": services().database.ping, **services().neighbours.pings}
    states = {}
    for name, ping in pings.items():
        try:
            ping()
        except NeighbourUnavailableError:
            states[name] = "away"
        else:
            states[name] = "ok"
    is_ready = states["postgres"] == "ok"
    body = {"status": "ok" if is_ready else "away", "neighbours": states}
    return answer(body, 200 if is_ready else 503)
