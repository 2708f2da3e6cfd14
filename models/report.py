"""What a provider tells later about a message, in our words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from models.status import RecipientStatus

#: Most that a provider's explanation may take in our records.
MAX_ERROR_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Report:
    """One report, whoever made it.

    Attributes:
        status: What became of the message.
        occurred_at: When, by the provider's clock, aware of its zone.
        batch_id: The batch, where our ids came back; else the message id names it.
        seq: The recipient's number in it.
        message_id: The provider's, or `""`.
        error: Why it did not arrive, as a tenant may read it.
        is_hard: The address must not be sent to again: a hard bounce.
        is_of_recipient: It is about our recipient, and not about copies alone.
        copies: The addresses of copies that it is about.
    """

    status: RecipientStatus
    occurred_at: datetime
    batch_id: UUID | None = None
    seq: int = 0
    message_id: str = ""
    error: str = ""
    is_hard: bool = False
    is_of_recipient: bool = True
    copies: Sequence[str] = ()

    @property
    def suppresses(self) -> bool:
        """Tell whether its addresses go on the tenant's suppression list."""
        return self.is_hard or self.status is RecipientStatus.COMPLAINED
