"""The receiver: the only door that is open to the providers."""

from dramatiq.errors import BrokerError
from flask import Flask

from brokers import dispatch
from brokers.kv import Bucket
from middleware import metrics_page
from middleware.request_times import time_requests
from models.errors import NeighbourUnavailableError
from models.webhook_secrets import BUCKET
from providers.sns import Fetch, Sns
from settings import Settings, load
from webhook_app import probes
from webhook_app.accounts import Accounts, LookUp
from webhook_app.budget import networks
from webhook_app.publishing import Publisher, stored_by
from webhook_app.receive import Publish, Receiver
from webhook_app.reports import readers

#: Whoever reports waits no longer; it reports again after a 503.
_PATIENCE_S = 5.0


def create_app(
    settings: Settings | None = None,
    publish: Publish | None = None,
    *,
    look_up: LookUp | None = None,
    fetch: Fetch | None = None,
) -> Flask:
    """Return the WSGI application; nothing is connected before the first report.

    Args:
        settings: The environment's, where none are given.
        publish: Stores a job durably; the settings' NATS where none is given.
        look_up: Finds a tenant's secret; the settings' NATS where none is given.
        fetch: Gets what AWS signs by; AWS itself where none is given.
    """
    settings = settings or load()
    broker = dispatch.connect(
        settings.nats_url,
        middleware=[],
        publish_timeout_s=_PATIENCE_S,
        **settings.nats_options(),
    )
    app = Flask(__name__, static_folder=None)
    receiver = Receiver(
        publish=publish or Publisher(stored_by(broker)),
        accounts=Accounts(
            settings.webhook_secrets(),
            look_up or _in(broker.bucket(BUCKET)),
            settings.webhook_secrets_key.get_secret_value(),
        ),
        readers=readers(Sns(fetch)),
        proxies=networks(settings.trusted_proxies),
    )
    app.register_blueprint(probes.probes)
    # Reports do not pass through Flask, whatever else does.
    app.wsgi_app = receiver.in_front_of(app.wsgi_app)  # type: ignore[assignment,method-assign]  # as Flask's own pages do it
    time_requests(app, "webhook")
    metrics_page.serve(settings.metrics_host, settings.metrics_port)
    return app


def _in(bucket: Bucket) -> LookUp:
    def look_up(config_id: str) -> bytes | None:
        try:
            entry = bucket.get(config_id)
        except BrokerError as error:
            raise NeighbourUnavailableError("NATS does not answer.") from error
        return None if entry is None else entry.value

    return look_up
