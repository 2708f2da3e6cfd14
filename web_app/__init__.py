"""The API that tenants use: make batches, upload recipients, send, look."""

from functools import partial

from flask import Flask

from analytics import client as event_log
from analytics.audit_log import AuditLog
from brokers import dispatch
from middleware import metrics_page
from middleware.request_times import time_requests
from models.database import Database
from models.unsubscribe import Unsubscribing
from settings import Settings, load
from web_app import idempotency, probes, problems
from web_app.api import (
    analytics,
    api_keys,
    attachments,
    audit,
    batches,
    control,
    messages,
    rate_limits,
    recipients,
    send_configs,
    stats,
    suppressions,
    webhook_endpoints,
)
from web_app.deeds import write_down_deeds
from web_app.neighbours import neighbours as all_neighbours
from web_app.services import Neighbours, Services

#: A message that NATS does not take in this time is left to the scheduler.
_PUBLISH_TIMEOUT_S = 2.0
_RESOURCES = (
    probes.probes,
    send_configs.send_configs,
    attachments.attachments,
    batches.batches,
    recipients.recipients,
    control.control,
    stats.stats,
    analytics.analytics,
    messages.messages,
    suppressions.suppressions,
    api_keys.api_keys,
    rate_limits.rate_limits,
    webhook_endpoints.webhook_endpoints,
    audit.audit,
)


def create_app(
    settings: Settings | None = None, neighbours: Neighbours | None = None
) -> Flask:
    """Return the WSGI application; nothing is connected before the first request.

    Args:
        settings: The environment's, where none are given.
        neighbours: What shows live counts and statistics; the settings' where none
            are given. While they are away, batch pages stay as they are.
    """
    settings = settings or load()
    app = Flask(__name__, static_folder=None)
    database = Database(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        pool_timeout_s=settings.database_pool_timeout_s,
        prepares=settings.database_prepare,
    )
    neighbours = neighbours or all_neighbours(settings)
    app.extensions[Services.NAME] = _services(settings, database, neighbours)
    problems.register(app)
    # Who refuses a request before its view is timed, too.
    time_requests(app, "web")
    write_down_deeds(app)
    samples = [metrics_page.pool_sample(database)]
    metrics_page.serve(settings.metrics_host, settings.metrics_port, samples=samples)
    idempotency.register(app)
    for resource in _RESOURCES:
        app.register_blueprint(resource)
    return app


def _services(
    settings: Settings, database: Database, neighbours: Neighbours
) -> Services:
    return Services(
        database=database,
        neighbours=neighbours,
        credentials_key=settings.credentials_key.get_secret_value(),
        webhook_secrets_key=settings.webhook_secrets_key.get_secret_value(),
        largest_chunk=settings.chunk_size,
        max_upload_bytes=settings.max_upload_bytes,
        broker=dispatch.connect(
            settings.nats_url,
            **settings.nats_options(),
            middleware=[],
            publish_timeout_s=_PUBLISH_TIMEOUT_S,
            email_shards=settings.email_shards,
        ),
        system_rate_per_s=settings.system_rate_per_s,
        max_attachment_bytes=settings.max_attachment_bytes,
        managed=settings.managed_settings(),
        unsubscribing=partial(
            Unsubscribing.now,
            settings.public_url,
            settings.unsubscribe_keys.get_secret_value(),
        ),
        audit=AuditLog(
            event_log.connect(settings.clickhouse_url.get_secret_value()),
            settings.spool_dir,
            spool_cap_bytes=settings.spool_cap_bytes,
        ),
    )
