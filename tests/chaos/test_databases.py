"""Postgres and ClickHouse are killed and stopped."""

import time

from tests.chaos.batches import make_batch, send_to_the_middle, wait_status
from tests.chaos.house import House
from tests.chaos.verifier import verify

#: A call that was declared has arrived by then, on a busy machine too.
BEGUN_S = 1.0


def test_postgres_is_killed_and_comes_back(house: House) -> None:
    """Answers and claims wait for it: within a lease nobody becomes unknown.

    No call begins meanwhile, but for those whose intent was committed just before.
    """
    batch = make_batch(house)
    send_to_the_middle(house, batch)

    with house.fault() as outage:
        house.stack.postgres.kill()
        killed_s = time.time()
        house.hold(BEGUN_S + 2.0)
        started_s = time.time()
        house.stack.postgres.start()

    lost = [outage] if outage.outlasts_a_lease else []
    found = verify(house, batch, faults=lost)
    assert found.row["sent"] + found.row["unknown"] == batch.recipients
    nothing_new = [c for c in found.calls if killed_s + BEGUN_S < c.t < started_s]
    assert nothing_new == []
    assert found.calls[-1].t > started_s, "The batch was at its end before."


def test_postgres_is_stopped_and_started(house: House) -> None:
    """The same when it ends its sessions in order."""
    batch = make_batch(house)
    send_to_the_middle(house, batch)

    with house.fault() as outage:
        house.stack.postgres.stop()
        house.stack.postgres.start()

    lost = [outage] if outage.outlasts_a_lease else []
    found = verify(house, batch, faults=lost)
    assert found.row["sent"] + found.row["unknown"] == batch.recipients


def test_clickhouse_is_killed_and_comes_back(house: House) -> None:
    """Events wait in the ledger; the batch does not wait for them."""
    batch = make_batch(house)
    send_to_the_middle(house, batch)

    house.stack.clickhouse.kill()
    wait_status(house, batch, "completed")
    house.stack.clickhouse.start()

    found = verify(house, batch)
    assert found.row["sent"] == batch.recipients
