"""The ledger's statements: who may call whom is decided here and nowhere else.

Each is one statement on one row, guarded by its token; 0 rows means that the caller
has lost the row, or never had it (design, section 5).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from models import bits
from models.chunk import CallIntent, Chunk
from models.patience import Refusal
from models.prepared import Prepared

_ROW = """
    c.batch_id, c.no, c.first, c.last, c.state, c.token, c.crashes, c.calls,
    c.in_call, c.sent, c.failed, c.unknown, c.suppressed, c.cancelled, c.doubt,
    c.late, c.provider_ids, c.errors, c.refusals, c.by_fallback
"""
# A config that is held stops its batches as a pause does.
_STATUS = """
    case when b.status = 'processing' and g.held_reason is not null then 'held'
        else b.status::text end as status
"""

# An untouched chunk is claimed and its first calls are declared in one statement;
# what any earlier holder touched is claimed with nothing new in call. A lease that
# ended by itself counts as a crash; one that its holder ended (null) does not.
_CLAIM = Prepared(
    "claim",
    f"""
    update chunks c
    set state = 'claimed',
        token = c.token + 1,
        claim_id = :claim_id,
        lease_until = clock_timestamp() + make_interval(secs => :lease_s),
        not_before = null,
        crashes = c.crashes
            + (c.state = 'claimed' and c.lease_until is not null)::int,
        in_call = case when c.token = 0 then cast(:in_call as jsonb)
            else c.in_call end,
        calls = case when c.token = 0 then :calls else c.calls end,
        failed = case when c.token = 0 then cast(:failed as varbit)
            else c.failed end,
        suppressed = case when c.token = 0 then cast(:suppressed as varbit)
            else c.suppressed end,
        errors = case when c.token = 0 then cast(:errors as jsonb) else c.errors end,
        by_fallback = case when c.token = 0 then cast(:by_fallback as varbit)
            else c.by_fallback end
    from batches b join send_configs g on g.id = b.config_id
    where c.batch_id = :batch_id and c.no = :no and b.id = c.batch_id
        and (c.not_before is null or c.not_before <= clock_timestamp())
        and (
            (c.state = 'open' and b.status = 'processing' and g.held_reason is null)
            or (
                c.state = 'claimed'
                and (
                    c.lease_until is null
                    or c.lease_until
                        < clock_timestamp() - make_interval(secs => :margin_s)
                )
            )
        )
    returning {_ROW}, {_STATUS}
    """,
)
_CLAIMED_AS = text(
    f"""
    select {_ROW}, {_STATUS}
    from chunks c
    join batches b on b.id = c.batch_id
    join send_configs g on g.id = b.config_id
    where c.batch_id = :batch_id and c.no = :no and c.claim_id = :claim_id
    """
)
_IN_CALL = text(
    f"""
    select {_ROW} from chunks c
    where c.batch_id = :batch_id and c.no = :no and c.state = 'claimed'
    """
)
_LOOK = text(
    """
    select c.state, b.status, g.held_reason,
        greatest(
            0,
            extract(epoch from c.not_before - clock_timestamp()),
            extract(epoch from c.lease_until - clock_timestamp()) + :margin_s
        )::float as wait_s
    from chunks c
    join batches b on b.id = c.batch_id
    join send_configs g on g.id = b.config_id
    where c.batch_id = :batch_id and c.no = :no
    """
)
# The next calls are declared only while the batch is processing and its config not
# held. What a former holder knew to be sent (`late`) outranks *unknown*.
_ADVANCE = Prepared(
    "advance",
    f"""
    update chunks c
    set state = cast(
            case when :goes_on and runs then 'claimed' else :state end as chunk_state
        ),
        in_call = cast(
            case when :goes_on and runs then :next else :in_call end as jsonb
        ),
        calls = case when :goes_on and runs then :calls else c.calls end,
        lease_until = case when :goes_on and runs
            then clock_timestamp() + make_interval(secs => :lease_s) end,
        not_before = case when cast(:wait_s as float) > 0
            then clock_timestamp() + make_interval(secs => :wait_s) end,
        published_at = case when :unpublish or not runs then null
            else c.published_at end,
        epoch = c.epoch + (:unpublish or not runs)::int,
        sent = cast(:sent as varbit) | (cast(:unknown as varbit) & c.late),
        failed = cast(:failed as varbit),
        unknown = cast(:unknown as varbit) & ~c.late,
        suppressed = cast(:suppressed as varbit),
        cancelled = cast(:cancelled as varbit),
        doubt = c.doubt | cast(:doubt as varbit),
        provider_ids = :provider_ids,
        errors = cast(:errors as jsonb),
        refusals = cast(:refusals as jsonb),
        by_fallback = cast(:by_fallback as varbit),
        dead = :dead,
        done_at = case when :state = 'done' then clock_timestamp() end,
        folded_at = null
    from batches b
    join send_configs g on g.id = b.config_id
    cross join lateral (
        select b.status = 'processing' and g.held_reason is null as runs
    ) batch
    where c.batch_id = :batch_id and c.no = :no and b.id = c.batch_id
        and c.state = 'claimed' and c.token = :token
    returning c.state, c.lease_until is not null as held, {_STATUS}
    """,
)
_UNPUBLISH = text(
    """
    update chunks c
    set published_at = null, epoch = c.epoch + 1,
        not_before = case when cast(:wait_s as float) > 0
            then clock_timestamp() + make_interval(secs => :wait_s) end
    where c.batch_id = :batch_id and c.no = :no and c.state = 'open'
        and c.epoch = :epoch
    """
)
# Facts about people that nobody is calling now: *unknown* gives way to *sent*, and
# the row is folded again. The rest waits in `late` for the row's present holder.
_LATE = text(
    """
    update chunks c
    set late = c.late | f.sent,
        sent = c.sent | (c.unknown & f.sent),
        unknown = c.unknown & ~f.sent,
        folded_at = case when c.state = 'done' and bit_count(c.unknown & f.sent) > 0
            then null else c.folded_at end,
        logged_at = case when c.state = 'done' and bit_count(c.unknown & f.sent) > 0
            then null else c.logged_at end
    from (select cast(:sent as varbit) as sent) f
    where c.batch_id = :batch_id and c.no = :no
    """
)

_SETS = ("sent", "failed", "unknown", "suppressed", "cancelled", "doubt", "late")


@dataclass(frozen=True, slots=True)
class Advanced:
    """What an advance found.

    Attributes:
        done: The row is done: the message may be acknowledged.
        goes_on: The next calls were declared: they may begin.
        status: The batch's status.
    """

    done: bool
    goes_on: bool
    status: str


@dataclass(frozen=True, slots=True)
class Seen:
    """Why a chunk could not be claimed.

    Attributes:
        state: `open`, `claimed` or `done`; none where there is no such row.
        status: The batch's status.
        held_reason: Why its config is held, if it is.
        wait_s: Seconds until it may be claimed.
    """

    state: str | None
    status: str = ""
    held_reason: str | None = None
    wait_s: float = 0.0


def claim(
    connection: Connection,
    chunk: Chunk,
    claim_id: UUID,
    *,
    lease_s: float,
    margin_s: float,
) -> tuple[Chunk, str] | None:
    """Claim a chunk, declaring `chunk.in_call` if nobody ever held it before.

    Returns the row as it is now, with the batch's status, or `held` where its config
    is; none if it cannot be claimed (see `look`). When the reply was lost, ask
    `claimed_as`, never assume.
    """
    row = (
        _CLAIM.run(
            connection,
            {
                **_key(chunk),
                "claim_id": claim_id,
                "lease_s": lease_s,
                "margin_s": margin_s,
                "in_call": _calls(chunk.in_call),
                "calls": chunk.calls,
                "failed": bits.to_bit_string(chunk.failed, chunk.size),
                "suppressed": bits.to_bit_string(chunk.suppressed, chunk.size),
                "errors": _texts(chunk.errors),
                "by_fallback": _by_fallback(chunk),
            },
        )
        .mappings()
        .first()
    )
    return (_chunk(row), row["status"]) if row else None


def claimed_as(
    connection: Connection, chunk: Chunk, claim_id: UUID
) -> tuple[Chunk, str] | None:
    """Return the row if the claim whose reply was lost had been committed."""
    found = connection.execute(_CLAIMED_AS, {**_key(chunk), "claim_id": claim_id})
    row = found.mappings().first()
    return (_chunk(row), row["status"]) if row else None


def in_call(connection: Connection, batch_id: str, no: int) -> Chunk | None:
    """Return a claimed row as it is, without claiming it."""
    found = connection.execute(_IN_CALL, {"batch_id": batch_id, "no": no})
    row = found.mappings().first()
    return _chunk(row) if row else None


def look(connection: Connection, batch_id: str, no: int, *, margin_s: float) -> Seen:
    """Say why a chunk cannot be claimed now."""
    found = connection.execute(
        _LOOK, {"batch_id": batch_id, "no": no, "margin_s": margin_s}
    )
    row = found.mappings().first()
    return Seen(**row) if row else Seen(state=None)


def advance(
    connection: Connection,
    held: Chunk,
    *,
    then: Chunk | None,
    lease_s: float,
    wait_s: float = 0.0,
    unpublish: bool = False,
    dead: bool = False,
) -> Advanced | None:
    """Write what was answered; go on with `then`, which has the next calls declared.

    Without `then`, or when the batch no longer runs, the row is *done* if everybody
    is decided; stays claimed, its lease ended, if a call is still in doubt; else it
    is *open* again, not before `wait_s`. None: the row is another holder's now.
    """
    found = _ADVANCE.run(
        connection,
        {
            **_known(held),
            "by_fallback": _by_fallback(then or held),
            "goes_on": then is not None,
            "next": _calls(then.in_call if then else ()),
            "calls": then.calls if then else held.calls,
            "lease_s": lease_s,
            "wait_s": wait_s,
            "unpublish": unpublish,
            "dead": dead,
        },
    )
    row = found.mappings().first()
    if row is None:
        return None
    return Advanced(
        done=row["state"] == "done", goes_on=row["held"], status=row["status"]
    )


def _known(held: Chunk) -> dict[str, Any]:
    """Return what a holder knows of its row, as it is written."""
    sets = {name: getattr(held, name) for name in _SETS if name != "late"}
    ids = None
    if held.provider_ids:
        ids = [
            _storable(held.provider_ids.get(at, "")) or None for at in range(held.size)
        ]
    state = "claimed" if held.in_call else "open" if held.open else "done"
    return {
        **_key(held),
        **{name: bits.to_bit_string(who, held.size) for name, who in sets.items()},
        "token": held.token,
        "state": state,
        "in_call": _calls(held.in_call),
        "provider_ids": ids,
        "errors": _texts(held.errors),
        "refusals": _refusals(held),
    }


def unpublish(
    connection: Connection, batch_id: str, no: int, *, epoch: int, wait_s: float
) -> bool:
    """Take an open chunk back from the queue for `wait_s`; its message is acked."""
    found = connection.execute(
        _UNPUBLISH, {"batch_id": batch_id, "no": no, "epoch": epoch, "wait_s": wait_s}
    )
    return bool(found.rowcount)


def add_late_facts(
    connection: Connection, batch_id: str, no: int, *, sent: int, size: int
) -> None:
    """Take in that these were sent, from whoever no longer holds the row."""
    connection.execute(
        _LATE,
        {"batch_id": batch_id, "no": no, "sent": bits.to_bit_string(sent, size)},
    )


def _key(chunk: Chunk) -> dict[str, Any]:
    return {"batch_id": chunk.batch_id, "no": chunk.no}


def _calls(calls: tuple[CallIntent, ...]) -> str:
    return orjson.dumps([call.to_json() for call in calls]).decode()


def _refusals(chunk: Chunk) -> str:
    kept = [one.to_json() for one in chunk.refusals] if chunk.open else []
    return orjson.dumps(kept).decode()


def _by_fallback(chunk: Chunk) -> str | None:
    # Nearly always nobody's: then nothing is written.
    members = chunk.by_fallback
    return bits.to_bit_string(members, chunk.size) if members else None


def _texts(errors: Mapping[int, str]) -> str | None:
    if not errors:
        return None
    kept = {at: _storable(why) for at, why in errors.items()}
    return orjson.dumps(kept, option=orjson.OPT_NON_STR_KEYS).decode()


def _storable(text: str) -> str:
    # A provider may answer with the one character that Postgres cannot keep.
    return text.replace("\0", "")


def _chunk(row: Mapping[Any, Any]) -> Chunk:
    sets = {name: bits.from_bit_string(row[name]) for name in _SETS}
    ids = row["provider_ids"] or ()
    return Chunk(
        batch_id=str(row["batch_id"]),
        no=row["no"],
        first=row["first"],
        size=row["last"] - row["first"] + 1,
        token=row["token"],
        crashes=row["crashes"],
        calls=row["calls"],
        in_call=tuple(CallIntent.of_json(call) for call in row["in_call"]),
        provider_ids={at: value for at, value in enumerate(ids) if value is not None},
        errors={int(at): why for at, why in (row["errors"] or {}).items()},
        refusals=tuple(Refusal.of_json(one) for one in row["refusals"]),
        by_fallback=bits.from_bit_string(row["by_fallback"]),
        **sets,
    )
