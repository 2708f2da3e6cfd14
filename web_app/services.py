"""What the views of one application work with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID

from flask import current_app

from brokers import JetStreamBroker
from models.database import Database
from models.unsubscribe import Unsubscribing


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The neighbours that only show something; none is needed to take a batch.

    Each callable raises `NeighbourUnavailableError` when its server is away.

    Attributes:
        live_counts: From a batch's id as text to the five outcomes counted live.
        batch_stats: From a batch to its counts in the event log.
        pings: By server, a call that returns when the server answers.
    """

    live_counts: Callable[[str], Mapping[str, int]] | None = None
    batch_stats: Callable[[UUID], Mapping[str, Any]] | None = None
    pings: Mapping[str, Callable[[], None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Services:
    """One application's doors and limits.

    Attributes:
        database: Where batches live.
        neighbours: What shows live counts and statistics.
        credentials_key: The keys that credentials are sealed with, or `""`.
        managed: The providers at which the platform has an account, and the settings
            that its configs cannot choose.
        unsubscribing: How links to unsubscribe by are made; raises
            `InvalidInputError` where the server has no key for them.
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
    max_attachment_bytes: int
    managed: Mapping[str, Mapping[str, str]]
    unsubscribing: Callable[[], Unsubscribing]


def services() -> Services:
    """Return the doors and limits of the application that answers this request."""
    found: Services = current_app.extensions[Services.NAME]
    return found
