"""A job and its queue: the only thing that the enqueuing processes need.

Knows where the application's queues are; imports no actor.
"""

import re
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, get_args

import dramatiq

from brokers.encoding import ENCODER
from brokers.jetstream import JetStreamBroker
from brokers.routes import Route
from brokers.tenants import TenantShare
from models.jobs import DeliverWebhook, Job, RecordWebhook, SendChunk, SendMessage

__all__ = [
    "ENCODER",
    "connect",
    "routes",
    "send",
    "send_later",
    "send_many",
    "to_message",
]

#: Batches that a process expands at once, and how long a chunk's job may stand still.
CONCURRENT_BATCHES = 2
JOB_PATIENCE_S = 45.0
#: Outgoing webhooks that one endpoint is called with at once, by all workers together.
CALLS_AN_ENDPOINT = 4


def routes(
    *,
    concurrent_batches: int = CONCURRENT_BATCHES,
    job_patience_s: float = JOB_PATIENCE_S,
    email_shards: int = 1,
) -> tuple[Route, ...]:
    """Return the application's queues.

    Chunks are routed by tenant, so that each tenant has its turn; with more than one
    shard they are in the streams `email-system-0` and so on.
    """
    return (
        Route(
            "batch",
            "email-system",
            "sys.batch.process",
            max_in_flight=concurrent_batches,
        ),
        Route(
            "priority",
            "email-system",
            "sys.email.priority",
            job_patience_s=job_patience_s,
        ),
        Route(
            "chunk",
            "email-system",
            "email.user.{tenant}.chunk",
            consumer="user-{tenant}",
            consumer_filter="email.user.{tenant}.>",
            job_patience_s=job_patience_s,
            shards=email_shards,
        ),
        Route(
            "webhook",
            "webhooks",
            "webhook.>",
            publish_subject="webhook.{provider}.{event}",
        ),
        # Each endpoint has the turn and the cap of a tenant: who is slow is slow alone.
        Route(
            "outgoing",
            "outgoing",
            "outgoing.{tenant}.deliver",
            tenants=lambda _: TenantShare(cap=CALLS_AN_ENDPOINT),
        ),
    )


#: What the fields of each job are called.
_NAMES = {kind: [field.name for field in fields(kind)] for kind in get_args(Job)}
_NO_TOKEN = re.compile(r"[^A-Za-z0-9_-]+")


def connect(
    servers: str | Sequence[str],
    *,
    concurrent_batches: int = CONCURRENT_BATCHES,
    job_patience_s: float = JOB_PATIENCE_S,
    email_shards: int = 1,
    **options: Any,
) -> JetStreamBroker:
    """Return a broker with the application's queues; connects at its first use.

    Sets Dramatiq's encoder for the whole process, not its global broker.

    Args:
        servers: As `JetStreamBroker` takes them.
        concurrent_batches: How many batches one process expands at once.
        job_patience_s: How long a chunk's job that stands still keeps its message.
        email_shards: Over how many streams the chunks are spread; the same in all
            processes. What was stored under another number is still worked off.
        **options: Any other option of `JetStreamBroker` but `routes`.
    """
    dramatiq.set_encoder(ENCODER)
    return JetStreamBroker(
        servers,
        routes=routes(
            concurrent_batches=concurrent_batches,
            job_patience_s=job_patience_s,
            email_shards=email_shards,
        ),
        **options,
    )


def to_message(job: Job, *, queue: str | None = None) -> dramatiq.Message[Any]:
    """Return the job as its actor receives it: one keyword argument a field.

    Args:
        job: The job; its values are not copied.
        queue: Instead of the job's own queue.
    """
    return dramatiq.Message(
        queue_name=queue or job.queue,
        actor_name=job.actor,
        args=(),
        kwargs={name: getattr(job, name) for name in _NAMES[type(job)]},
        options=_options(job),
    )


def send(
    broker: JetStreamBroker,
    job: Job,
    *,
    dedup_id: str | None = None,
    queue: str | None = None,
) -> bool:
    """Store a job durably; tell whether it is new.

    Args:
        broker: Where to.
        job: The job.
        dedup_id: Stored once within the broker's duplicate window.
        queue: Instead of the job's own queue.

    Raises:
        MessageTooLarge: The server would not take it; nothing was sent.
        BrokerConnectionError: It was not confirmed in time.
    """
    ids = None if dedup_id is None else [dedup_id]
    return bool(broker.enqueue_many([to_message(job, queue=queue)], dedup_ids=ids))


def send_many(
    broker: JetStreamBroker,
    jobs: Sequence[Job],
    *,
    dedup_ids: Sequence[str] | None = None,
    atomic: bool = False,
) -> int:
    """Store jobs durably; return how many are new.

    Args and errors as for `JetStreamBroker.enqueue_many`.
    """
    return broker.enqueue_many(
        [to_message(job) for job in jobs], dedup_ids=dedup_ids, atomic=atomic
    )


def send_later(broker: JetStreamBroker, job: Job, *, delay_s: float) -> None:
    """Store a job that the server delivers no sooner than in so many seconds.

    Each call stores it anew. Raises as `send`.
    """
    broker.enqueue(to_message(job), delay=int(delay_s * 1000))


def _options(job: Job) -> dict[str, Any]:
    if isinstance(job, SendChunk | SendMessage):
        return {"tenant": job.tenant_id}
    if isinstance(job, DeliverWebhook):
        return {"tenant": job.endpoint_id}
    if isinstance(job, RecordWebhook):
        return {"provider": _token(job.provider), "event": _token(job.event)}
    return {}


@lru_cache(maxsize=1024)
def _token(text: str) -> str:
    """Return what a provider sent as one token of a subject."""
    return _NO_TOKEN.sub("_", text) or "unknown"
