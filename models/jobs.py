"""The jobs that travel between processes, as values.

Whoever enqueues knows the job; only workers know the actor. New fields get defaults
and none is renamed, so that old and new processes understand each other's jobs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar


@dataclass(frozen=True, slots=True)
class ExpandBatch:
    """Publish the open rows of a batch's ledger.

    Attributes:
        batch_id: The batch, as text.
    """

    actor: ClassVar[str] = "expand_batch"
    queue: ClassVar[str] = "batch"

    batch_id: str


@dataclass(frozen=True, slots=True)
class SendChunk:
    """Send one chunk of a batch.

    Attributes:
        batch_id: The batch, as text.
        tenant_id: Whose it is; names the subject.
        no: The chunk's number in the batch, from 0.
        first: The seq of its first recipient.
        size: How many recipients it has.
        epoch: Which decision to publish this copy comes from.
        addresses: By position; none where the chunk was too large to carry, so
            that the worker reads its range itself.
        variables: By position, one mapping of names to values each; as addresses.
        suppressed: The positions that were on a suppression list at expansion.
        published_at: When the copy was made, in seconds since the epoch, so that a
            worker knows which later suppressions it must look for.
    """

    actor: ClassVar[str] = "send_chunk"
    queue: ClassVar[str] = "chunk"

    batch_id: str
    tenant_id: str
    no: int
    first: int
    size: int
    epoch: int
    addresses: Sequence[str] | None = None
    variables: Sequence[Mapping[str, Any]] | None = None
    suppressed: Sequence[int] = ()
    published_at: float = 0.0


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Send a single message before all batches: the only chunk of a batch of one.

    Attributes:
        batch_id: The message's id, as text.
        tenant_id: Whose it is.
        epoch: Which decision to publish this copy comes from.
        address: None where the worker shall read the row itself, as for `SendChunk`.
        variables: The address's names and values; as address.
        suppressed: Whether it was on a suppression list when it was taken.
        published_at: When the copy was made, in seconds since the epoch; 0 makes the
            worker ask the suppression lists themselves.
    """

    actor: ClassVar[str] = "send_message"
    queue: ClassVar[str] = "priority"

    batch_id: str
    tenant_id: str
    epoch: int = 0
    address: str | None = None
    variables: Mapping[str, Any] | None = None
    suppressed: bool = False
    published_at: float = 0.0

    @property
    def message_id(self) -> str:
        """Return what one decision to publish is known by, however often it is sent."""
        return f"{self.batch_id}:0:{self.epoch}"

    @property
    def chunk(self) -> SendChunk:
        """Return the chunk that is to be sent."""
        carried = self.address is not None
        return SendChunk(
            batch_id=self.batch_id,
            tenant_id=self.tenant_id,
            no=0,
            first=0,
            size=1,
            epoch=self.epoch,
            addresses=[self.address] if self.address is not None else None,
            variables=[self.variables or {}] if carried else None,
            suppressed=[0] if self.suppressed else [],
            published_at=self.published_at,
        )

    def by_name(self) -> "SendMessage":
        """Return the job without what the worker can read itself."""
        return SendMessage(self.batch_id, self.tenant_id, self.epoch)


@dataclass(frozen=True, slots=True)
class RecordWebhook:
    """Take in what a provider reported.

    Attributes:
        provider: Its name, such as `custom`.
        event: The event's type, such as `delivered`.
        body: The event as the provider sent it, decoded from JSON.
        event_id: What the provider knows this report by, the same when it is sent
            again; `""` where it has no name.
        config_id: Whose own account reported, as text; none for the platform's.
        received_at: When it was stored, in seconds since the epoch.
    """

    actor: ClassVar[str] = "record_webhook"
    queue: ClassVar[str] = "webhook"

    provider: str
    event: str
    body: Mapping[str, Any]
    event_id: str = ""
    config_id: str | None = None
    received_at: float = 0.0


@dataclass(frozen=True, slots=True)
class DeliverWebhook:
    """Tell a tenant's endpoint of events: one attempt of one delivery.

    Attributes:
        delivery_id: The delivery, as text.
        endpoint_id: Whose turn and cap it takes, as text.
        attempts: How many have ended before this one.
        epoch: Which decision to publish this copy comes from.
    """

    actor: ClassVar[str] = "deliver_webhook"
    queue: ClassVar[str] = "outgoing"

    delivery_id: str
    endpoint_id: str
    attempts: int = 0
    epoch: int = 0

    @property
    def message_id(self) -> str:
        """Return what one decision to publish is known by, however often it is sent."""
        return f"{self.delivery_id}:{self.attempts}:{self.epoch}"


Job = ExpandBatch | SendChunk | SendMessage | RecordWebhook | DeliverWebhook


_AnyJob = TypeVar(
    "_AnyJob", ExpandBatch, SendChunk, SendMessage, RecordWebhook, DeliverWebhook
)


def job_of(kind: type[_AnyJob], values: Mapping[str, Any]) -> _AnyJob:
    """Return the job that was sent; fields of newer senders are left aside."""
    known = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in known})
