"""Every committed version of every row of the ledger, kept by Postgres itself.

A trigger copies each version into a table of its own, and the server remembers when
each transaction was committed. So "at all times" is checked on all that ever was, and
not on samples; and a call's intent can be compared with the call by the clock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from models import bits
from models.chunk import CallIntent
from models.status import OUTCOMES

#: A statement that was under way when its sender was killed is committed by then.
SETTLING_S = 0.3

_AUDIT = """
    create table if not exists ledger_versions (
        id bigserial primary key,
        batch_id uuid not null, no int not null, first int not null, last int not null,
        state text not null, token int not null, epoch int not null,
        calls int not null, in_call jsonb not null,
        sent varbit not null, failed varbit not null, unknown varbit not null,
        suppressed varbit not null, cancelled varbit not null, doubt varbit not null
    );
    create index if not exists ledger_versions_idx on ledger_versions (batch_id, id);
    create or replace function keep_version() returns trigger language plpgsql as $$
    begin
        insert into ledger_versions (
            batch_id, no, first, last, state, token, epoch, calls, in_call,
            sent, failed, unknown, suppressed, cancelled, doubt
        ) values (
            new.batch_id, new.no, new.first, new.last, new.state, new.token,
            new.epoch, new.calls, new.in_call, new.sent, new.failed, new.unknown,
            new.suppressed, new.cancelled, new.doubt
        );
        return null;
    end $$;
    create or replace trigger keep_version after insert or update on chunks
        for each row execute function keep_version();
"""
_VERSIONS = text(
    """
    select no, first, last, state, token, epoch, calls, in_call,
        sent, failed, unknown, suppressed, cancelled, doubt,
        pg_xact_commit_timestamp(xmin) as committed_at
    from ledger_versions where batch_id = :batch_id order by id
    """
)


@dataclass(frozen=True, slots=True)
class Version:
    """A row of the ledger as it once was.

    Attributes:
        no: The chunk.
        first: Its first seq.
        size: Its recipients.
        state: `open`, `claimed` or `done`.
        token: How often it had been claimed.
        epoch: How often it was decided to publish it anew.
        calls: How many calls were ever begun.
        in_call: The calls without an answer.
        sets: Positions by outcome.
        doubt: Positions that were ever called without an answer.
        committed_at: In seconds since 1970.
    """

    no: int
    first: int
    size: int
    state: str
    token: int
    epoch: int
    calls: int
    in_call: tuple[CallIntent, ...]
    sets: Mapping[str, int]
    doubt: int
    committed_at: float

    @property
    def calling(self) -> int:
        """Return the positions in call."""
        found = 0
        for call in self.in_call:
            found |= call.members
        return found


def install(connection: Connection) -> None:
    """Begin to keep versions; a second time changes nothing."""
    connection.exec_driver_sql(_AUDIT)


def versions(connection: Connection, batch_id: object) -> list[Version]:
    """Return all versions of a batch's rows, in the order of their writing."""
    rows = connection.execute(_VERSIONS, {"batch_id": batch_id}).mappings()
    return [_version(row) for row in rows]


def _version(row: Mapping[Any, Any]) -> Version:
    return Version(
        no=row["no"],
        first=row["first"],
        size=row["last"] - row["first"] + 1,
        state=row["state"],
        token=row["token"],
        epoch=row["epoch"],
        calls=row["calls"],
        in_call=tuple(CallIntent.of_json(call) for call in row["in_call"]),
        sets={name.value: bits.from_bit_string(row[name.value]) for name in OUTCOMES},
        doubt=bits.from_bit_string(row["doubt"]),
        committed_at=row["committed_at"].timestamp(),
    )


def in_call_during(found: Iterable[Version], begin_s: float, end_s: float) -> int:
    """Return how many recipients were in a call at some time of a window."""
    last: dict[int, Version] = {}
    members: dict[int, int] = {}
    for version in found:
        if version.committed_at < begin_s:
            last[version.no] = version
        elif version.committed_at <= end_s + SETTLING_S:
            members[version.no] = members.get(version.no, 0) | version.calling
    for no, version in last.items():
        members[no] = members.get(no, 0) | version.calling
    return sum(some.bit_count() for some in members.values())
