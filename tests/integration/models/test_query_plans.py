"""The statements of the hot path read what they need and nothing else."""

from uuid import uuid4

import orjson
import pytest
from sqlalchemy import text

from models.bits import to_bit_string
from models.queries import fold, ledger, messages, publishing
from tests.factories import make_config

RECIPIENTS, CHUNK = 200_000, 500
NONE = to_bit_string(0, CHUNK)

_FILL = """
    insert into recipients (batch_id, seq, address, variables)
    select '{batch_id}', seq, 'user' || seq || '@example.com', '{{"name": "N"}}'
    from generate_series(0, {last}) as seq
"""


@pytest.fixture(scope="module")
def batch_id(ledger_database):
    config = make_config(ledger_database)
    with ledger_database.transaction() as connection:
        batch_id = connection.execute(
            text(
                """
                insert into batches (tenant_id, config_id, name, payload, recipients,
                    status, queued_at, sealed)
                values (:t, :c, 'B', '{}', :n, 'queued', now(), :sealed)
                returning id
                """
            ),
            {
                "t": config["tenant_id"],
                "c": config["id"],
                "n": RECIPIENTS,
                "sealed": orjson.dumps({"chunk": CHUNK}).decode(),
            },
        ).scalar_one()
        fill = _FILL.format(batch_id=batch_id, last=RECIPIENTS - 1)
        connection.exec_driver_sql(fill)
        publishing.start_due_batches(connection)
        connection.exec_driver_sql(
            "update chunks set state = 'done', sent = ~sent, done_at = now()"
            " where no < 100"
        )
    return batch_id


@pytest.fixture(scope="module", params=["never analyzed", "analyzed"])
def explain(request, ledger_database, batch_id):
    """Give the plan of a statement; with and without statistics."""
    if request.param == "analyzed":
        with ledger_database.statement() as connection:
            connection.exec_driver_sql("vacuum analyze recipients")
            connection.exec_driver_sql("vacuum analyze chunks")

    def explained(statement, **values):
        with ledger_database.transaction() as connection:
            if statement is fold._FOLD:
                for setting in fold._BY_KEY:
                    connection.exec_driver_sql(setting)
            found = connection.execute(text(f"explain {statement.text}"), values)
            return "\n".join(found.scalars())

    return explained


ROW = {"no": 200}
WRITTEN = dict.fromkeys(
    ("sent", "failed", "unknown", "suppressed", "cancelled", "doubt"), NONE
)
STATEMENTS = {
    "claim": (
        ledger._CLAIM,
        {**ROW, "claim_id": uuid4(), "lease_s": 45, "margin_s": 5, "in_call": "[]",
         "calls": 1, "failed": NONE, "suppressed": NONE, "errors": None,
         "by_fallback": None},
    ),
    "advance": (
        ledger._ADVANCE,
        {**ROW, **WRITTEN, "token": 1, "state": "open", "goes_on": True, "next": "[]",
         "in_call": "[]", "calls": 1, "lease_s": 45, "wait_s": 0.0, "unpublish": False,
         "dead": False, "provider_ids": None, "errors": None,
         "refusals": "[]", "by_fallback": None},
    ),
    "look": (ledger._LOOK, {**ROW, "margin_s": 5}),
    "page": (
        publishing._PAGE,
        {"chunks": 2, "after": -1, "channel": "email", "tenant_id": uuid4()},
    ),
    "messages": (messages._LEFT, {"own_time_s": 2, "most": 1000}),
    "mark": (publishing._MARK, {"nos": [200, 201], "epochs": [0, 0]}),
    "fold": (fold._FOLD, {"chunks": 100}),
}  # fmt: skip


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_hot_path_goes_by_index(explain, batch_id, name):
    """No statement for a chunk reads all chunks, or all recipients."""
    statement, values = STATEMENTS[name]

    plan = explain(statement, batch_id=batch_id, **values)

    assert "Seq Scan on recipients" not in plan, plan
    assert "Seq Scan on chunks" not in plan, plan
