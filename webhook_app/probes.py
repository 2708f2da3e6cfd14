"""Whether the receiver lives."""

from flask import Blueprint, Response, jsonify

probes = Blueprint("probes", __name__)


@probes.get("/health")
@probes.get("/health/live")
@probes.get("/health/ready")
def live() -> Response:
    """Answer 200 as long as the process answers at all.

    NATS is not asked: were it away, taking the receiver out of service would only
    turn its 503, after which providers come back, into a refused connection.
    """
    return jsonify(status="ok")
