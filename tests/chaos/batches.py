"""Batches that tests send: their making, their control, and how far they are."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import orjson
from sqlalchemy import Connection, text

from embedded.sink_ledger import SinkCall
from embedded.sink_ledger import read as read_ledger
from models.jobs import ExpandBatch, SendChunk
from models.limit import Limit
from models.plan import Plan, Policy
from models.queries import control as control_queries
from models.queries import tenants, uploads
from models.queries.tenants import NewConfig
from models.recipients import Block
from tests.chaos.house import CALL, CHUNK, House, until

#: Recipients of the usual batch.
RECIPIENTS = 20_000
#: Rows of each part of an upload whose address came before.
DOUBLES = 10

_PAYLOAD = orjson.dumps(
    {
        "subject": "Hello {{name}}",
        "text": "Dear {{name}}, your code is {{code}}.",
    }
).decode()


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that a test sends.

    Attributes:
        id: Its id.
        tenant_id: Whose it is; every batch has a tenant of its own.
        keyed: Its config declares idempotency keys.
        policy: What is done about outcomes that stay unknown.
        limit: Its config's rate.
        recipients: How many it has.
        falls_back: Its config falls back on the other sink.
    """

    id: UUID
    tenant_id: UUID
    keyed: bool
    policy: Policy
    limit: Limit
    recipients: int
    falls_back: bool = False

    @property
    def uploaded(self) -> int:
        """Return how many rows were uploaded, those bad and double included."""
        return self.recipients + 2 * (1 + DOUBLES)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is.

    Attributes:
        status: The batch's.
        chunks: How many it has.
        done: Rows done.
        claimed: Rows claimed.
        unlogged: Rows whose events ClickHouse does not have yet.
    """

    status: str
    chunks: int
    done: int
    claimed: int
    unlogged: int


def sink_calls(house: House, batch: Batch, *, fallback: bool = False) -> list[SinkCall]:
    """Return all calls that reached a batch's sink, or the other, in their order."""
    calls = read_ledger(house.sink_ledger(keyed=batch.keyed ^ fallback)).calls
    return [call for call in calls if call.batch == str(batch.id)]


def make_batch(
    house: House,
    *,
    keyed: bool = False,
    policy: Policy = "at_most_once",
    limit: Limit | None = None,
    recipients: int = RECIPIENTS,
    sink_port: int | None = None,
    falls_back: bool = False,
) -> Batch:
    """Return a new draft with its recipients, some rows of it bad or double.

    What it falls back on is the other sink, by a config that declares no keys.
    """
    limit = limit or Limit(1e6, 1e6)
    port = sink_port or house.sink_port(keyed=keyed)
    config = _config("sink", port, limit, policy, keyed=keyed)
    with house.database.transaction() as connection:
        tenant = tenants.create_tenant(connection, f"tenant-{uuid4()}")
        if falls_back:
            port = house.sink_port(keyed=not keyed)
            other = _config("other", port, limit, policy, keyed=False)
            config = _falling_back(connection, tenant, config, other)
        made = tenants.create_config(connection, tenant, config)
        batch_id = connection.execute(
            text(
                "insert into batches (tenant_id, config_id, name, payload)"
                " values (:tenant, :config, 'chaos', :payload) returning id"
            ),
            {"tenant": tenant, "config": made["id"], "payload": _PAYLOAD},
        ).scalar_one()
    for part, blocks in enumerate(_parts(recipients)):
        with house.database.transaction() as connection:
            uploads.take_part(connection, tenant, batch_id, part, blocks)
    with house.database.statement() as connection:
        connection.exec_driver_sql("analyze recipients")
    return Batch(batch_id, tenant, keyed, policy, limit, recipients, falls_back)


def _falling_back(
    connection: Connection, tenant: UUID, config: NewConfig, other: NewConfig
) -> NewConfig:
    made = tenants.create_config(connection, tenant, other)
    return replace(config, fallback_id=made["id"])


def _config(
    name: str, port: int, limit: Limit, policy: Policy, *, keyed: bool
) -> NewConfig:
    settings = {
        "url": f"http://127.0.0.1:{port}/",
        "maxBatch": CALL,
        "idempotencyKeys": keyed,
    }
    return NewConfig(name, "email", "custom", settings, None, limit, policy)


def queue(house: House, batch: Batch, *, at_s: float | None = None) -> None:
    """Send a batch, at once or at a time in seconds since 1970."""
    with house.database.transaction() as connection:
        row = control_queries.locked_batch(connection, batch.tenant_id, batch.id)
        other = tenants.fallback_config(connection, row["config"])
        plan = Plan.seal(row, row["config"], largest_chunk=CHUNK, fallback=other)
        due = None if at_s is None else datetime.fromtimestamp(at_s, UTC)
        control_queries.queue_batch(connection, row, plan, scheduled_at=due)


def control(
    house: House, batch: Batch, change: Callable[[Connection, UUID, UUID], None]
) -> float:
    """Pause, resume or cancel a batch; returns when, in seconds since 1970."""
    with house.database.transaction() as connection:
        change(connection, batch.tenant_id, batch.id)
    return time.time()


def progress(house: House, batch: Batch) -> Progress:
    """Return how far a batch is."""
    with house.database.statement() as connection:
        row = connection.execute(
            text(
                """
                select b.status, count(c.no) as chunks,
                    count(*) filter (where c.state = 'done') as done,
                    count(*) filter (where c.state = 'claimed') as claimed,
                    count(*) filter (where c.logged_at is null) as unlogged
                from batches b left join chunks c on c.batch_id = b.id
                where b.id = :id group by b.id
                """
            ),
            {"id": batch.id},
        )
        return Progress(**row.mappings().one())


def leases(house: House, batch: Batch) -> int:
    """Return how many rows of a batch somebody holds, or held until he died."""
    with house.database.statement() as connection:
        held = text(
            "select count(*) from chunks"
            " where batch_id = :id and lease_until is not null"
            " and state = 'claimed'"
        )
        return int(connection.execute(held, {"id": batch.id}).scalar_one())


def send_to_the_middle(house: House, batch: Batch) -> None:
    """Queue a batch and wait until some of it is done, and by far not all."""
    queue(house, batch)
    wait_done(house, batch, 0.2)


def wait_done(house: House, batch: Batch, share: float) -> None:
    """Wait until so much of a batch is done; fails when it was too fast."""

    def passed() -> Progress | None:
        now = progress(house, batch)
        return now if now.chunks and now.done >= share * now.chunks else None

    now = until(passed, f"{share:.0%} of the batch is done")
    assert now.done < now.chunks, "The batch was done before the fault."


def wait_status(house: House, batch: Batch, status: str) -> None:
    """Wait until a batch has a status."""
    until(lambda: progress(house, batch).status == status, f"the batch is {status}")


def wait_ended(house: House, batch: Batch, status: str = "completed") -> None:
    """Wait until a batch is finished, logged, and its messages are settled."""

    def drained() -> bool:
        now = progress(house, batch)
        return (
            now.status == status
            and now.done == now.chunks
            and not now.unlogged
            and not house.broker.stored(SendChunk.queue).get(str(batch.tenant_id))
            and not any(house.broker.get_queue_message_counts(ExpandBatch.queue)[:2])
            and not house.outcomes.waiting(str(batch.id))
        )

    try:
        until(drained, f"batch {batch.id} ends")
    except AssertionError as error:
        stored = house.broker.stored(SendChunk.queue).get(str(batch.tenant_id))
        now = f"{progress(house, batch)}, {stored} messages are stored."
        raise AssertionError(f"{error} Now {now}") from error


def _parts(recipients: int) -> list[list[Block]]:
    """Return two parts of an upload, with bad rows and with addresses twice."""
    half = recipients // 2
    return [_part(range(half)), _part(range(half, recipients))]


def _part(people: range) -> list[Block]:
    again = range(DOUBLES)
    invalid = [(len(people) + DOUBLES + 1, "No address.")]
    return [_block(people, 1, []), _block(again, len(people) + 1, invalid)]


def _block(people: range, line: int, invalid: list[tuple[int, str]]) -> Block:
    return Block(
        lines=list(range(line, line + len(people))),
        addresses=[f"user{i}@example.com" for i in people],
        variables=[f'{{"name":"Name {i}","code":"C{i}"}}' for i in people],
        invalid=invalid,
        names=frozenset({"name", "code"}),
    )
