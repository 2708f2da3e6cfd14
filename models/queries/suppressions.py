"""Lists of addresses that nothing is sent to: a tenant's own, and everybody's.

A list has a channel. Addresses stand on it as `models.recipients.listed_as` writes
them, so that another spelling of a mailbox is found too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from models.addresses import Channel, listed_as
from models.errors import InvalidInputError, NotFoundError
from models.queries.uploads import ERRORS_SHOWN
from models.recipients import Block, Format, read

#: The longest reason that is kept.
MAX_REASON_CHARACTERS = 200
_NO_REASON = "On an imported list."

# The time is the statement's, not that of a long import's beginning: workers look for
# what is new.
_ADD = text(
    """
    insert into suppressions (tenant_id, channel, address, reason, created_at)
    select :tenant_id, :channel, address, reason, clock_timestamp()
    from unnest(cast(:addresses as text[]), cast(:reasons as text[]))
        as given(address, reason)
    on conflict do nothing
    """
)
_REMOVE = text(
    """
    delete from suppressions
    where tenant_id is not distinct from :tenant_id and channel = :channel
        and address = :address
    """
)
# Two statements: of `is not distinct from` no index is used.
_PAGE_OF = {
    whose: text(
        f"""
        select address, reason, created_at from suppressions
        where tenant_id {whose} and channel = :channel and address > :after
        order by address limit :limit
        """
    )
    for whose in ("= :tenant_id", "is null")
}


@dataclass(frozen=True, slots=True)
class SuppressionList:
    """One list.

    Attributes:
        tenant_id: Whose it is; none is everybody's.
        channel: `email`, `sms` or `webhook`.
    """

    tenant_id: UUID | None
    channel: str


@dataclass(slots=True)
class Imported:
    """What became of the rows of an import.

    Attributes:
        added: Addresses that are new on the list.
        known: Those that were on it, or came twice.
        invalid: Rows that hold no address.
        errors: The line and reason of the first `ERRORS_SHOWN` of these.
    """

    added: int = 0
    known: int = 0
    invalid: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "rows": self.added + self.known + self.invalid,
            "added": self.added,
            "known": self.known,
            "invalid": self.invalid,
            "errors": [{"line": line, "reason": why} for line, why in self.errors],
        }


def import_to_list(
    connection: Connection, which: SuppressionList, blocks: Iterable[Block]
) -> Imported:
    """Put an upload's addresses on a list; the memory taken is that of one block.

    A row's variable `reason` is its reason; no other is read. The same file again
    changes nothing. Raises what the blocks raise; the transaction must be undone.
    """
    done = Imported()
    for block in blocks:
        added = add_to_list(connection, which, block.addresses, _reasons(block))
        done.added += added
        done.known += len(block.addresses) - added
        done.invalid += len(block.invalid)
        done.errors += block.invalid[: ERRORS_SHOWN - len(done.errors)]
    return done


def _reasons(block: Block) -> list[str]:
    if "reason" not in block.names:
        return [_NO_REASON] * len(block.addresses)
    given = (orjson.loads(one).get("reason") for one in block.variables)
    return [str(one or _NO_REASON)[:MAX_REASON_CHARACTERS] for one in given]


def add_to_list(
    connection: Connection,
    which: SuppressionList,
    addresses: Sequence[str],
    reasons: Sequence[str],
) -> int:
    """Put addresses on a list; who is there stays. Returns how many are new."""
    return connection.execute(
        _ADD,
        {
            "tenant_id": which.tenant_id,
            "channel": which.channel,
            "addresses": [listed_as(one, which.channel) for one in addresses],
            "reasons": list(reasons),
        },
    ).rowcount


def remove_from_list(
    connection: Connection, which: SuppressionList, address: str
) -> None:
    """Take an address off a list, however it is spelled.

    Workers that have it in mind send again 2 s later. Raises `NotFoundError` when it
    is not there.
    """
    given = {
        "tenant_id": which.tenant_id,
        "channel": which.channel,
        "address": listed_as(checked_address(address, which.channel), which.channel),
    }
    if not connection.execute(_REMOVE, given).rowcount:
        raise NotFoundError(
            f"The address is not on this list of channel {which.channel}."
        )


def list_page(
    connection: Connection, which: SuppressionList, *, after: str, limit: int
) -> list[dict[str, Any]]:
    """Return `address, reason, created_at` of a list's next addresses, by address."""
    whose = "is null" if which.tenant_id is None else "= :tenant_id"
    given = {"channel": which.channel, "after": after, "limit": limit}
    if which.tenant_id is not None:
        given["tenant_id"] = which.tenant_id
    found = connection.execute(_PAGE_OF[whose], given)
    return [dict(row) for row in found.mappings()]


def checked_address(address: str, channel: str) -> str:
    """Return an address as recipients have it; `InvalidInputError` if it is none."""
    row = orjson.dumps([{"address": address}])
    (block,) = read([row], upload_format=Format.JSON, channel=Channel(channel))
    if block.invalid:
        raise InvalidInputError(block.invalid[0][1], field="address")
    return block.addresses[0]
