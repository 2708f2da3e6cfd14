"""Whether the receiver lives, and whether it can take reports."""

from flask import Blueprint, Response, jsonify

from webhook_app.receive import receiver

probes = Blueprint("probes", __name__)


@probes.get("/health")
@probes.get("/health/live")
def live() -> Response:
    """Answer 200 as long as the process answers at all."""
    return jsonify(status="ok")


@probes.get("/health/ready")
def ready() -> tuple[Response, int]:
    """Answer 200 when reports can be stored, else 503.

    NATS is not asked: were it away, taking the receiver out of service would only
    turn its 503, after which providers come back, into a refused connection.
    """
    is_ready = receiver().publish is not None
    return jsonify(status="ok" if is_ready else "away"), 200 if is_ready else 503
