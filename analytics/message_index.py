"""Whose message a provider's report is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from analytics.client import Client
from analytics.sql import statement


@dataclass(frozen=True, slots=True)
class Place:
    """A recipient's place.

    Attributes:
        tenant_id: Whose batch it is.
        batch_id: The batch.
        seq: The recipient's number in it.
    """

    tenant_id: UUID
    batch_id: UUID
    seq: int


def places(client: Client, provider_message_ids: Sequence[str]) -> dict[str, Place]:
    """Return the recipients of messages by the provider's id, in one query.

    An id that is not logged (yet) is left out: events are a few seconds behind, so
    a caller that needs it asks again later. Raises `NeighbourUnavailableError`.
    """
    found = client.rows(
        statement("recipients_of_messages"), {"ids": list(provider_message_ids)}
    )
    return {message_id: Place(*place) for message_id, *place in found}
