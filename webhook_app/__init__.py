"""The receiver: the only door that is open to the providers."""

from flask import Flask

from middleware import metrics_page
from middleware.request_times import time_requests
from settings import Settings, load
from webhook_app import probes, receive
from webhook_app.publishing import publisher
from webhook_app.receive import Publish, Receiver


def create_app(
    settings: Settings | None = None, publish: Publish | None = None
) -> Flask:
    """Return the WSGI application; nothing is connected before the first report.

    Args:
        settings: The environment's, where none are given.
        publish: Stores a job durably; the settings' NATS where none is given.
    """
    settings = settings or load()
    app = Flask(__name__, static_folder=None)
    app.extensions[Receiver.NAME] = Receiver(
        publish=publish or publisher(settings),
        custom_secret=settings.custom_webhook_secret.get_secret_value(),
    )
    app.register_blueprint(probes.probes)
    app.register_blueprint(receive.webhooks)
    receive.register_errors(app)
    time_requests(app, "webhook")
    metrics_page.serve(settings.metrics_host, settings.metrics_port)
    return app
