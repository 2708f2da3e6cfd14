"""Events that providers report, written so that repeats count once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from analytics.client import Client
from analytics.event_log import IntakeRow, columns_of, token_of
from models.status import RecipientStatus


@dataclass(frozen=True, slots=True)
class ReportedEvent:
    """One thing that a provider says happened to a recipient.

    Attributes:
        tenant_id: Whose batch it is.
        batch_id: The batch.
        event: A status by name, such as `delivered`.
        seq: The recipient's number in the batch.
        occurred_at: When it happened by the provider's clock, aware of its zone. Of
            two with one recipient and event the earlier stays.
        provider_message_id: The provider's id, or `""`.
        error: The reason, or `""`.
    """

    tenant_id: UUID
    batch_id: UUID
    event: str
    seq: int
    occurred_at: datetime
    provider_message_id: str = ""
    error: str = ""


class EventWriter:
    """Stores reported events; the same event again, in any company, counts once."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def write(self, events: Sequence[ReportedEvent]) -> None:
        """Store events in one insert.

        Raises `NeighbourUnavailableError` while ClickHouse is away; whoever has them
        keeps them and comes again.
        """
        rows = sorted(map(_row, events))
        if rows:
            self._client.insert("chunk_log", columns_of(rows), token=token_of(rows))


def _row(event: ReportedEvent) -> IntakeRow:
    # The index of message ids has no use for a second copy of one.
    proves_sending = event.event == RecipientStatus.SENT
    return IntakeRow(
        event.tenant_id,
        event.batch_id,
        event.event,
        event.seq,
        1,
        "",
        event.occurred_at,
        event.provider_message_id if proves_sending else "",
        event.error,
    )
