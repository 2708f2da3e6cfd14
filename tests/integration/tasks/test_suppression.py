"""Nobody on a list is called: who is there at expansion, and who came since."""

from uuid import UUID

import pytest

from models.queries import fold, publishing
from models.queries.suppressions import (
    SuppressionList,
    add_to_list,
    remove_from_list,
)
from models.queries.tenants import create_tenant
from tests.factories import fields_of, finish


@pytest.fixture
def on_list(ledger_database):
    """Put an address on a list; all lists are empty at the end."""

    def listed(address, *, tenant_id=None, channel="email"):
        which = SuppressionList(tenant_id, channel)
        with ledger_database.transaction() as connection:
            add_to_list(connection, which, [address], ["asked"])

    yield listed
    with ledger_database.statement() as connection:
        connection.exec_driver_sql("delete from suppressions")


@pytest.fixture(scope="module")
def other_tenant(ledger_database):
    with ledger_database.transaction() as connection:
        return create_tenant(connection, "another tenant")


@pytest.fixture
def expanded(ledger_database):
    """The positions that a batch's first chunk is published with."""

    def page(batch_id):
        with ledger_database.statement() as connection:
            plan = publishing.sealed_plan(connection, str(batch_id))
            connection.exec_driver_sql("update chunks set published_at = null")
            (chunk,) = publishing.next_page(connection, plan, chunks=1)
        return sorted(chunk.suppressed)

    return page


def tenant_of(database, batch_id) -> UUID:
    return fields_of(database, "batches", batch_id)["tenant_id"]


def test_lists_by_tenant_and_channel_are_heeded_at_expansion(
    *, start, expanded, on_list, other_tenant, ledger_database
):
    """The tenant's and everybody's list of the batch's channel, and no other."""
    batch_id = start(recipients=5)
    on_list("user0@example.com", tenant_id=tenant_of(ledger_database, batch_id))
    on_list("user1@example.com")
    on_list("user2@example.com", channel="sms")
    on_list("user3@example.com", tenant_id=other_tenant)

    assert expanded(batch_id) == [0, 1]


def test_lists_by_tenant_and_channel_are_heeded_before_the_call(
    *, start, deliver, row, sink, on_list, other_tenant, ledger_database
):
    """Who was put on a list after the chunk was published: suppressed, not failed."""
    batch_id = start(recipients=5)
    on_list("user0@example.com", tenant_id=tenant_of(ledger_database, batch_id))
    on_list("user1@example.com")
    on_list("user2@example.com", channel="webhook")
    on_list("user3@example.com", tenant_id=other_tenant)

    deliver(batch_id)

    found = row(batch_id)
    assert (found["state"], found["suppressed"], found["failed"]) == (
        "done", "11000", "00000",
    )  # fmt: skip
    assert [call.seqs for call in sink.calls(batch_id)] == ["2-4"]


def test_everybodys_list_holds_whatever_the_tenants_says(
    *, start, expanded, on_list, ledger_database
):
    """An address taken off the tenant's list is still on everybody's; it is one hit."""
    batch_id = start(recipients=1)
    tenant_id = tenant_of(ledger_database, batch_id)
    on_list("user0@example.com")
    on_list("user0@example.com", tenant_id=tenant_id)
    assert expanded(batch_id) == [0]

    with ledger_database.statement() as connection:
        mine = SuppressionList(tenant_id, "email")
        remove_from_list(connection, mine, "user0@example.com")

    assert expanded(batch_id) == [0]


@pytest.mark.parametrize("when", ["at expansion", "before the call"])
def test_another_spelling_of_a_mailbox_is_found(
    *, start, expanded, deliver, row, on_list, ledger_database, when
):
    """Whichever of the two is in capitals."""
    batch_id = start(recipients=2)
    with ledger_database.statement() as connection:
        connection.exec_driver_sql(
            "update recipients set address = 'USER0@example.com'"
            f" where batch_id = '{batch_id}' and seq = 0"
        )
    on_list("user0@example.com")
    on_list("User1@Example.Com")

    if when == "at expansion":
        assert expanded(batch_id) == [0, 1]
    else:
        deliver(batch_id)
        assert row(batch_id)["suppressed"] == "11"


def test_after_a_large_import_the_tables_are_asked(
    *, start, deliver, row, sink, on_list, ledger_database
):
    """No worker holds a million addresses in mind, and none of them is called."""
    batch_id = start(recipients=3)
    on_list("user1@example.com")
    with ledger_database.statement() as connection:
        connection.exec_driver_sql(
            "insert into suppressions (channel, address, reason)"
            " select 'email', 'other' || i || '@example.com', ''"
            " from generate_series(1, 10001) i"
        )

    deliver(batch_id)

    assert row(batch_id)["suppressed"] == "010"
    assert [call.seqs for call in sink.calls(batch_id)] == ["0,2"]


def test_a_list_is_read_again_after_two_seconds(
    *, start, deliver, row, on_list, worker
):
    """What a worker has in mind is never older."""
    first, second = start(recipients=1), start(recipients=1)
    deliver(first)
    on_list("user0@example.com")
    worker.suppressions._read_at -= 2.1

    deliver(second)

    assert row(first)["sent"] == "1"
    assert row(second)["suppressed"] == "1"


def test_the_suppressed_are_counted_as_such(ledger_database, start):
    """In the batch's counters and in the recipient's row."""
    batch_id = start(recipients=2)
    finish(ledger_database, batch_id, suppressed=1)

    with ledger_database.transaction() as connection:
        fold.fold(connection, chunks=100)

    batch = fields_of(ledger_database, "batches", batch_id)
    assert (batch["suppressed"], batch["failed"], batch["sent"]) == (1, 0, 1)
