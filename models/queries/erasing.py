"""One person's traces in Postgres: found, and taken out (ADR 0045)."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from models.addresses import Channel

#: What stands in an address's place: nobody can be reached by it, and it is on the
#: list of those whom nothing is sent to, because a draft may still be sent.
PLACEHOLDERS = {
    Channel.EMAIL: "erased@erased.invalid",
    Channel.SMS: "+999000000000",
    Channel.WEBHOOK: "erased",
}

# An index would need the spelling: this looks at all recipients, for rare use.
_FIND = text(
    """
    select b.tenant_id, r.batch_id, r.seq,
        b.status in ('queued', 'processing', 'paused')
        or b.status <> 'draft' and exists (
            select from chunks c
            where c.batch_id = b.id and r.seq between c.first and c.last
                and (c.state <> 'done' or c.logged_at is null)
        ) as under_way
    from recipients r
    join batches b on b.id = r.batch_id
    join send_configs g on g.id = b.config_id
    where g.channel = :channel
        and case when :channel = 'email' then lower(r.address) else r.address end
            = :listed_as
        and (cast(:tenant_id as uuid) is null or b.tenant_id = :tenant_id)
    """
)
_RECIPIENTS = text(
    """
    update recipients r set address = :placeholder, variables = '{}',
        provider_message_id = null, error = null
    from unnest(cast(:batch_ids as uuid[]), cast(:seqs as int[])) as e(batch_id, seq)
    where r.batch_id = e.batch_id and r.seq = e.seq
    """
)
_CHUNKS = text(
    """
    update chunks c set errors = c.errors - cast(e.seq - c.first as text),
        provider_ids[e.seq - c.first + 1] = null
    from unnest(cast(:batch_ids as uuid[]), cast(:seqs as int[])) as e(batch_id, seq)
    where c.batch_id = e.batch_id and e.seq between c.first and c.last
        and (c.errors is not null or c.provider_ids is not null)
    """
)
# The content of a single message is about one person alone.
_MESSAGES = text(
    """
    update batches b set payload = '{"text": ""}',
        sealed = jsonb_set(b.sealed, '{content}', '{"text": ""}', false)
    where b.id = any(cast(:batch_ids as uuid[])) and b.priority
    """
)


@dataclass(frozen=True, slots=True)
class Trace:
    """A recipient with the address.

    Attributes:
        tenant_id: Whose batch it is.
        batch_id: The batch.
        seq: The recipient's number in it.
        under_way: Something of the chunk is still to be sent, folded or logged, and
            would bring the address back: it is to be erased later.
    """

    tenant_id: UUID
    batch_id: UUID
    seq: int
    under_way: bool


def traces(
    connection: Connection, tenant_id: UUID | None, channel: Channel, listed_as: str
) -> list[Trace]:
    """Return the recipients with an address, of a tenant or of all (none).

    Args:
        connection: Reads every recipient once.
        tenant_id: Whose; none for everybody's.
        channel: What kind of address it is.
        listed_as: The address as `models.addresses.listed_as` writes it.
    """
    found = connection.execute(
        _FIND,
        {"tenant_id": tenant_id, "channel": str(channel), "listed_as": listed_as},
    )
    return [Trace(*row) for row in found]


def erase(connection: Connection, channel: Channel, found: Sequence[Trace]) -> None:
    """Take address, variables, ids and reasons out of these recipients.

    A list of those whom nothing is sent to is left alone: see `add_to_list`.
    """
    given = {
        "placeholder": PLACEHOLDERS[channel],
        "batch_ids": [trace.batch_id for trace in found],
        "seqs": [trace.seq for trace in found],
    }
    for change in (_RECIPIENTS, _CHUNKS, _MESSAGES):
        connection.execute(change, given)
