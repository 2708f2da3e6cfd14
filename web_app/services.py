"""What the views of one application work with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID

from flask import current_app

from analytics.audit_log import AuditLog
from analytics.client import Client
from brokers import JetStreamBroker
from models.breaker import BreakerSeen
from models.database import Database
from models.errors import NeighbourUnavailableError
from models.unsubscribe import Unsubscribing


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The neighbours that only show something; none is needed to take a batch.

    Each callable raises `NeighbourUnavailableError` when its server is away.

    Attributes:
        live_counts: From a batch's id as text to the five outcomes counted live.
        batch_stats: From a batch to its counts in the event log.
        pings: By server, a call that returns when the server answers.
        breaker: From a config's id as text to how its circuit breaker stands.
        event_log: ClickHouse itself, for reports.
        shortages: From batches' ids to what each waits for, as workers told it.
    """

    live_counts: Callable[[str], Mapping[str, int]] | None = None
    batch_stats: Callable[[UUID], Mapping[str, Any]] | None = None
    pings: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    breaker: Callable[[str], BreakerSeen] | None = None
    event_log: Client | None = None
    shortages: Callable[[Sequence[str]], Mapping[str, Mapping[str, Any]]] | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """One application's doors and limits.

    Attributes:
        database: Where batches live.
        neighbours: What shows live counts and statistics.
        credentials_key: The keys that credentials are sealed with, or `""`.
        webhook_secrets_key: The keys that webhook secrets are sealed with, or `""`.
        managed: The providers at which the platform has an account, and the settings
            that its configs cannot choose.
        unsubscribing: How links to unsubscribe by are made; raises
            `InvalidInputError` where the server has no key for them.
        system_rate_per_s: What all tenants together may send by default.
        audit: Where deeds are written down.
        max_attachment_bytes: What the files of one message may take together.
        largest_chunk: Recipients in the largest chunk that a batch is cut into.
        max_upload_bytes: The largest body of an upload.
        broker: Where single messages are published to; connects at its first use.
    """

    NAME: ClassVar[str] = "batchsender"

    database: Database
    neighbours: Neighbours
    credentials_key: str = field(repr=False)
    largest_chunk: int
    max_upload_bytes: int
    broker: JetStreamBroker
    system_rate_per_s: float
    max_attachment_bytes: int
    managed: Mapping[str, Mapping[str, str]]
    unsubscribing: Callable[[], Unsubscribing]
    audit: AuditLog
    webhook_secrets_key: str = field(default="", repr=False)


def services() -> Services:
    """Return the doors and limits of the application that answers this request."""
    found: Services = current_app.extensions[Services.NAME]
    return found


def breaker_seen(config_id: UUID) -> BreakerSeen | None:
    """Return how a config's breaker stands; none where nobody can tell."""
    seen = services().neighbours.breaker
    if seen is None:
        return None
    try:
        return seen(str(config_id))
    except NeighbourUnavailableError:
        return None
