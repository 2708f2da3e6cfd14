"""What every provider is to those who send: its abilities as data, and one call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from models.capabilities import Capabilities
from models.outcome import Answer


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a provider.

    Attributes:
        key: Its idempotency key; the same call repeated has the same key and the
            same messages. None where the provider keeps no keys.
        batch_id: The batch of its messages.
        messages: As `models.message` renders them, from 1 to `max_batch`.
        deadline_s: When the call is given up, in seconds from now; all in all.
    """

    key: str | None
    batch_id: str
    messages: Sequence[Mapping[str, Any]]
    deadline_s: float


class Provider(Protocol):
    """A provider with a send config's settings; safe for many threads."""

    @property
    def capabilities(self) -> Capabilities:
        """Return what it can do under these settings."""
        ...

    def send(self, call: Call) -> Answer:
        """Make one call, once, and return what is known of each message.

        It never raises for what the provider or the network does: that is the answer.
        """
        ...

    def close(self) -> None:
        """Let go of its connections; it is not used afterwards."""
        ...
