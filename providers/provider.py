"""What every provider is to those who send: its abilities as data, and one call."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from models.capabilities import Capabilities
from models.content import Attachment
from models.outcome import Answer


@dataclass(frozen=True, slots=True)
class File:
    """A file that goes along with each message of a call.

    Attributes:
        about: Its name and type.
        content: Its bytes.
    """

    about: Attachment
    content: bytes

    @property
    def base64(self) -> str:
        """Return its bytes as JSON carries them."""
        return b64encode(self.content).decode()


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a provider.

    Attributes:
        key: Its idempotency key; the same call repeated has the same key and the
            same messages. None where the provider keeps no keys.
        batch_id: The batch of its messages.
        messages: As `models.message` renders them, from 1 to `max_batch`.
        deadline_s: When the call is given up, in seconds from now; all in all.
        files: What each message carries; a call with files has one message.
    """

    key: str | None
    batch_id: str
    messages: Sequence[Mapping[str, Any]]
    deadline_s: float
    files: Sequence[File] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """What a provider allows the account behind a config.

    Attributes:
        per_s: Recipients in a second.
        per_day: Recipients in 24 hours; none is no limit.
        sent_today: Recipients in the last 24 hours.
        is_sandbox: Only addresses that were verified there can be sent to.
        blocked: Why it sends nothing at all, as a tenant may read it; or empty.
    """

    per_s: float
    per_day: float | None
    sent_today: float
    is_sandbox: bool
    blocked: str = ""


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

    def account(self) -> Account | None:
        """Ask what the account may do; none if that cannot be told, or not now.

        A worker asks at its start and every few minutes (`tells_account`).
        """
        ...

    def close(self) -> None:
        """Let go of its connections; it is not used afterwards."""
        ...
