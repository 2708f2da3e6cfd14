"""What a run makes Postgres write, beside one UPDATE a recipient."""

import time
from dataclasses import dataclass

from sqlalchemy import Connection, text

from embedded.process import Process
from models.database import Database

#: Single updates that stand for all the others.
SAMPLE = 5_000
_STATE = text(
    """
    select pg_current_wal_insert_lsn() - '0/0' as wal_bytes, xact_commit,
        tup_inserted + tup_updated + tup_deleted as row_writes
    from pg_stat_database where datname = current_database()
    """
)
_TABLE = """
    create table single_updates (like recipients including all)
        with (fillfactor = 55);
    insert into single_updates (batch_id, seq, address, variables)
    select batch_id, seq, address, variables
    from recipients order by batch_id, seq limit {sample};
    vacuum analyze single_updates;
    checkpoint
    """
_ONE = text(
    """
    update single_updates set status = 'sent'
    where batch_id = :batch_id and seq = :seq
    """
)


@dataclass(frozen=True, slots=True)
class Written:
    """Postgres' own counts since it was made."""

    wal_bytes: int
    transactions: int
    row_writes: int

    def since(self, before: "Written", recipients: int) -> dict[str, float]:
        """Return the difference, the WAL by recipient."""
        wal = (self.wal_bytes - before.wal_bytes) / recipients
        return {
            "transactions": self.transactions - before.transactions,
            "row_writes": self.row_writes - before.row_writes,
            "wal_bytes_per_recipient": round(wal, 1),
        }


def written(connection: Connection) -> Written:
    """Return the counts as they are now.

    A session reports what it did within a second, or after 10 s where it is idle, or
    at its end; so ask when the sessions in question are closed.
    """
    row = connection.execute(_STATE).one()
    return Written(int(row.wal_bytes), int(row.xact_commit), int(row.row_writes))


def one_update_each(
    database: Database, postgres: Process, recipients: int
) -> dict[str, float]:
    """Return the same figures for single updates, from a sample, and their CPU.

    Each is a transaction of its own on a table of the same shape.
    """
    with database.statement() as connection:
        for statement in _TABLE.format(sample=SAMPLE).split(";"):
            connection.exec_driver_sql(statement)
        keys = connection.exec_driver_sql("select batch_id, seq from single_updates")
        rows = [dict(row) for row in keys.mappings()]
        before = written(connection)
        cpu_s, began = postgres.cpu_seconds(), time.perf_counter()
        for row in rows:
            connection.execute(_ONE, row)
        took_s = time.perf_counter() - began
        cpu_s = postgres.cpu_seconds() - cpu_s
        wal_bytes = written(connection).wal_bytes - before.wal_bytes
    return {
        "transactions": recipients,
        "row_writes": recipients,
        "wal_bytes_per_recipient": round(wal_bytes / len(rows), 1),
        "postgres_us_per_recipient": round(cpu_s / len(rows) * 1e6, 1),
        "recipients_per_s": round(len(rows) / took_s),
        "sample": len(rows),
    }
