"""What one would write first: a Flask view, and one publish for each request.

It verifies and stores as the receiver does, with the same code for both; what differs
is the server, the way of a request through Flask, and that nothing is coalesced.
"""

import hashlib
import time

import orjson
from flask import Flask, Response, abort, request

from brokers import dispatch
from models.jobs import RecordWebhook
from providers.signatures import SignatureError, verify_standard_webhook
from settings import load


def create_app() -> Flask:
    """Return the application; nothing is connected before the first report."""
    settings = load()
    secret = settings.resend_webhook_secret.get_secret_value()
    broker = dispatch.connect(settings.nats_url, middleware=[])
    app = Flask(__name__)

    @app.get("/health")
    def health() -> Response:
        return Response(status=200)

    @app.post("/webhooks/resend")
    def resend() -> Response:
        raw, now_s = request.get_data(), time.time()
        try:
            report_id = verify_standard_webhook(
                raw, request.headers, secret=secret, now_s=now_s
            )
        except SignatureError:
            abort(401)
        body = orjson.loads(raw)
        job = RecordWebhook("resend", body["type"], body, report_id, None, now_s)
        name = hashlib.sha256(report_id.encode()).hexdigest()
        dispatch.send(broker, job, dedup_id=f"resend:{name}")
        return Response(status=200)

    return app
