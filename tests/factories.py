"""Tenants, configs and batches in a real Postgres; a test states only what matters."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
from sqlalchemy import Connection, text

from models import chunk as rules
from models.chunk import Chunk
from models.database import Database
from models.limit import Limit
from models.plan import Plan
from models.queries import control, ledger, publishing, reports
from models.queries.tenants import (
    NewConfig,
    create_config,
    create_tenant,
    fallback_config,
)
from models.report import Report
from models.status import RecipientStatus

_BATCH = text(
    """
    insert into batches (tenant_id, config_id, name, payload, recipients, rows)
    values (:tenant_id, :config_id, 'B', :payload, :recipients, :recipients)
    returning id
    """
)
_PEOPLE = text(
    """
    insert into recipients (batch_id, seq, address, variables)
    select :batch_id, seq - 1, address, variables
    from unnest(cast(:addresses as text[]), cast(:variables as json[]))
        with ordinality as p(address, variables, seq)
    """
)


def make_config(
    database: Database,
    *,
    tenant_id: UUID | None = None,
    limit: Limit | None = None,
    policy: str = "at_most_once",
    fallback: dict[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Return a custom config's row; `settings` as the API names them."""
    with database.transaction() as connection:
        return dict(
            create_config(
                connection,
                fallback["tenant_id"]
                if fallback
                else tenant_id or create_tenant(connection, f"tenant-{uuid4()}"),
                NewConfig(
                    name=f"config-{uuid4()}",
                    channel="email",
                    provider="custom",
                    settings={"url": "http://127.0.0.1:9/", **settings},
                    credentials=None,
                    limit=limit or Limit(1e6, 1e6),
                    policy=policy,
                    fallback_id=fallback and fallback["id"],
                ),
            )
        )


def make_batch(
    database: Database,
    config: dict[str, Any],
    *,
    recipients: int | Sequence[dict[str, Any]] = 3,
    chunk: int = 500,
    content: dict[str, Any] | None = None,
    scheduled_at: datetime | None = None,
) -> UUID:
    """Return a queued batch; recipients by number, or by their variables."""
    if isinstance(recipients, int):
        recipients = [{"name": f"Name {seq}"} for seq in range(recipients)]
    content = content or {"text": "Hello {{name}}"}
    with database.transaction() as connection:
        batch_id = connection.execute(
            _BATCH,
            {
                "tenant_id": config["tenant_id"],
                "config_id": config["id"],
                "payload": orjson.dumps(content).decode(),
                "recipients": len(recipients),
            },
        ).scalar_one()
        people = {
            "batch_id": batch_id,
            "addresses": [f"user{seq}@example.com" for seq in range(len(recipients))],
            "variables": [orjson.dumps(values).decode() for values in recipients],
        }
        connection.execute(_PEOPLE, people)
        batch = control.locked_batch(connection, config["tenant_id"], batch_id)
        fallback = fallback_config(connection, batch["config"])
        plan = Plan.seal(batch, batch["config"], largest_chunk=chunk, fallback=fallback)
        control.queue_batch(connection, batch, plan, scheduled_at=scheduled_at)
    return batch_id


def make_started(database: Database, config: dict[str, Any], **fields: Any) -> UUID:
    """Return a batch that is processing, with its ledger; fields as `make_batch`."""
    batch_id = make_batch(database, config, **fields)
    with database.transaction() as connection:
        publishing.start_due_batches(connection)
    return batch_id


def fields_of(
    database: Database, table: str, batch_id: UUID, *, no: int | None = None
) -> dict[str, Any]:
    """Return one row of `batches`, or of `chunks` by its number."""
    where = "id = :id" if no is None else "batch_id = :id and no = :no"
    with database.statement() as connection:
        found = connection.execute(
            text(f"select * from {table} where {where}"), {"id": batch_id, "no": no}
        )
        return dict(found.mappings().one())


def set_chunk(database: Database, batch_id: UUID, change: str, *, no: int = 0) -> None:
    """Change a row of the ledger behind everybody's back, as time would."""
    with database.statement() as connection:
        connection.execute(
            text(f"update chunks set {change} where batch_id = :id and no = :no"),
            {"id": batch_id, "no": no},
        )


def statuses_of(database: Database, batch_id: UUID) -> list[str]:
    """Return the recipients' statuses by seq."""
    with database.statement() as connection:
        found = connection.execute(
            text("select status from recipients where batch_id = :id order by seq"),
            {"id": batch_id},
        )
        return list(found.scalars())


def claimed(
    database: Database, batch_id: UUID, *, no: int = 0, calls: Sequence[int] = ()
) -> Chunk | None:
    """Claim a chunk, with these sets of members in call if it is untouched."""
    row = fields_of(database, "chunks", batch_id, no=no)
    first, last = row["first"], row["last"]
    fresh = rules.begun(
        Chunk(str(batch_id), no, first, last - first + 1),
        calls,
        account="a:1",
        at=1000.0,
    )
    with database.statement() as connection:
        found = ledger.claim(connection, fresh, uuid4(), lease_s=45, margin_s=5)
    return found[0] if found else None


def finish(database: Database, batch_id: UUID, *, no: int = 0, **sets: Any) -> None:
    """Bring a chunk to its end: `sets` by outcome, the rest is sent."""
    held = claimed(database, batch_id, no=no)
    assert held is not None
    held = replace(held, **sets)
    held = replace(held, sent=held.sent | held.open, in_call=())
    with database.statement() as connection:
        advanced = ledger.advance(connection, held, then=None, lease_s=45)
    assert advanced is not None
    assert advanced.done


def reported(
    connection: Connection, batch_id: UUID, seq: int, status: RecipientStatus | str
) -> bool:
    """Have a provider report one recipient's status; tell whether it moved."""
    report = Report(
        RecipientStatus(status), datetime.now(UTC), batch_id=batch_id, seq=seq
    )
    taken = reports.move_recipients(connection, [(report, None)])
    return any(one.before is not None for one in taken)


def rates_of(database: Database, config: dict[str, Any]) -> tuple[int, ...]:
    """Return what the brake knows of a config: sends, hard bounces, complaints."""
    query = """
        select coalesce(sum(sent), 0), coalesce(sum(hard_bounces), 0),
            coalesce(sum(complaints), 0)
        from config_rates where config_id = :id
        """
    with database.statement() as connection:
        return tuple(connection.execute(text(query), {"id": config["id"]}).one())
