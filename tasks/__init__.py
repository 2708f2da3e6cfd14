"""The actors: what `dramatiq tasks` runs."""

from collections.abc import Sequence
from typing import Any

import dramatiq
from dramatiq.middleware import Middleware, Retries

from brokers import BatchedMessage, current_delivery, dispatch
from brokers.job_context import JobContext, job_fields
from brokers.metrics import Metrics
from middleware import metrics_page
from middleware.idempotency import Idempotency
from middleware.rate_limit import RateLimit
from models.errors import NeighbourUnavailableError
from models.jobs import (
    DeliverWebhook,
    ExpandBatch,
    RecordWebhook,
    SendChunk,
    SendMessage,
    job_of,
)
from settings import load
from tasks import expand, outgoing, send, webhook
from tasks.worker import worker as this_worker
from telemetry import METRICS, configure_logging, log_context


def _deliveries() -> int:
    delivery = current_delivery()
    return delivery.deliveries if delivery else 1


class SetUp(Middleware):
    """Builds what jobs need before the first one comes; connects to nothing."""

    def after_process_boot(self, broker: dramatiq.Broker) -> None:  # noqa: ARG002 - Dramatiq's hook
        """Take the imports and the set-up out of the first chunk's way."""
        samples = [metrics_page.pool_sample(this_worker().database)]
        metrics_page.serve(
            settings.metrics_host, settings.metrics_port, samples=samples
        )

    def after_worker_shutdown(
        self,
        broker: dramatiq.Broker,  # noqa: ARG002 - Dramatiq's hook
        worker: dramatiq.Worker,  # noqa: ARG002 - Dramatiq's hook
    ) -> None:
        """Write what waits for ClickHouse, after the last job."""
        this_worker().close()


settings = load()
configure_logging("worker", level=settings.log_level, fields=job_fields)
broker = dispatch.connect(
    settings.nats_url,
    **settings.nats_options(),
    ack_wait_ms=int(settings.timing.ack_wait_s * 1000),
    concurrent_batches=settings.concurrent_batches,
    job_patience_s=settings.lease_s,
    email_shards=settings.email_shards,
    middleware=[
        Retries(max_retries=10, min_backoff=1000, max_backoff=60_000),
        JobContext(),
        SetUp(),
        Idempotency(lambda: this_worker().outcomes, deliveries=_deliveries),
        RateLimit(lambda: this_worker().limiter),
        Metrics(METRICS),
    ],
)
dramatiq.set_broker(broker)
dramatiq.set_encoder(dispatch.ENCODER)

#: Seconds until a job is tried again whose neighbour is away.
_AWAY_S = 5.0


@dramatiq.actor(actor_name=ExpandBatch.actor, queue_name=ExpandBatch.queue)
def expand_batch(**fields: Any) -> None:
    """Publish a batch's open chunks; see `tasks.expand`."""
    job = job_of(ExpandBatch, fields)
    with log_context(batch_id=job.batch_id):
        expand.expand_or_wait(this_worker(), broker, job)


@dramatiq.actor(
    actor_name=SendChunk.actor,
    queue_name=SendChunk.queue,
    max_retries=0,
    skip_if_final=True,
)
def send_chunk(**fields: Any) -> None:
    """Bring one chunk forward; see `tasks.send`."""
    _send(job_of(SendChunk, fields))


@dramatiq.actor(
    actor_name=SendMessage.actor, queue_name=SendMessage.queue, max_retries=0
)
def send_message(**fields: Any) -> None:
    """Send a single message; it is a chunk of one, and owed the same."""
    _send(job_of(SendMessage, fields).chunk, urgent=True)


def _send(job: SendChunk, *, urgent: bool = False) -> None:
    delivery = current_delivery()
    if delivery is None:
        raise RuntimeError("A chunk is sent only from a delivery of our broker.")
    with log_context(batch_id=job.batch_id, chunk=job.no):
        try:
            send.send(this_worker(), job, delivery, urgent=urgent)
        except NeighbourUnavailableError as error:
            # Fails closed: nothing was called that is not in the ledger.
            send.log.warning("The chunk waits: %s", error)
            delivery.postpone(_AWAY_S)
        except send.PoisonChunkError:
            raise
        except Exception:  # noqa: BLE001 - the outermost hand of a job
            # As if the process had died: the claim, if there is one, ends by itself,
            # its take-over counts the crash, and only the fifth is a dead letter.
            send.log.exception("The chunk is left to its next delivery.")
            delivery.leave()


@dramatiq.actor(
    actor_name=RecordWebhook.actor,
    queue_name=RecordWebhook.queue,
    batch_size=500,
    batch_wait_ms=200,
)
def record_webhook(messages: Sequence[BatchedMessage]) -> None:
    """Take in what providers reported; see `tasks.webhook`."""
    webhook.process(this_worker().processor, messages)


@dramatiq.actor(actor_name=DeliverWebhook.actor, queue_name=DeliverWebhook.queue)
def deliver_webhook(**fields: Any) -> None:
    """Tell a tenant's endpoint of events; see `tasks.outgoing`."""
    try:
        this_worker().deliverer.deliver(job_of(DeliverWebhook, fields))
    except NeighbourUnavailableError as error:
        delivery = current_delivery()
        if delivery is None:
            raise
        outgoing.log.warning("A delivery waits: %s", error)
        delivery.postpone(_AWAY_S)
