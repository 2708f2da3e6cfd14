"""A POST that is sent again under its key is done once and answered alike."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from models.queries import idempotency

BATCHES = "/api/batches"
BATCH = {"sendConfig": "hook", "payload": {"text": "Hello"}}


def asked(tenant, key, body=BATCH, path=BATCHES):
    return tenant.ask("POST", path, json=body, headers={"Idempotency-Key": key})


def drafts(tenant):
    return len(tenant.get(BATCHES).json["batches"])


def aged(database, tenant, age):
    with database.statement() as connection:
        connection.execute(
            text(
                "update idempotency_keys set started_at = now() - :age"
                " where tenant_id = :tenant_id"
            ),
            {"age": age, "tenant_id": tenant.tenant_id},
        )


def test_the_same_again_is_the_same_batch(tenant):
    key = str(uuid4())
    first, second = asked(tenant, key), asked(tenant, key)

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json == second.json
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert drafts(tenant) == 1
    assert asked(tenant, str(uuid4())).json["id"] != first.json["id"]


def test_a_key_stands_for_one_request(tenant):
    key = str(uuid4())
    asked(tenant, key)

    for other in (
        asked(tenant, key, BATCH | {"name": "Another"}),
        asked(tenant, key, path="/api/send-configs"),
    ):
        assert (other.status_code, other.json["field"]) == (400, "Idempotency-Key")
    assert drafts(tenant) == 1


def test_tenants_do_not_share_keys(tenant, make_caller):
    key, other = str(uuid4()), make_caller()
    other.make_config()

    assert asked(tenant, key).json["id"] != asked(other, key).json["id"]


def test_what_was_refused_may_be_mended_under_its_key(tenant):
    key = str(uuid4())
    assert asked(tenant, key, BATCH | {"payload": {}}).status_code == 400
    assert asked(tenant, key).status_code == 201


def test_of_many_at_once_one_is_done(app, tenant):
    key, found = str(uuid4()), []

    def ask():
        answer = app.test_client().post(
            BATCHES,
            json=BATCH,
            headers={"Idempotency-Key": key, "Authorization": f"Bearer {tenant.key}"},
        )
        found.append(answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(found) <= {201, 409}
    assert 201 in found
    assert drafts(tenant) == 1


def test_a_request_without_an_end_waits_and_begins_anew(tenant, database):
    """Its process died: nobody knows whether it was done."""
    key = str(uuid4())
    asked(tenant, key)
    with database.statement() as connection:
        connection.execute(
            text(
                "update idempotency_keys set status = null, answer = null"
                " where tenant_id = :tenant_id"
            ),
            {"tenant_id": tenant.tenant_id},
        )
    assert asked(tenant, key).status_code == 409

    aged(database, tenant, timedelta(minutes=2))

    assert asked(tenant, key).status_code == 201


def test_keys_are_forgotten_after_a_day(tenant, database):
    key = str(uuid4())
    first = asked(tenant, key)
    aged(database, tenant, timedelta(hours=23))
    with database.statement() as connection:
        idempotency.forget_old_keys(connection)
    assert asked(tenant, key).json == first.json

    aged(database, tenant, timedelta(hours=25))

    assert asked(tenant, key).json["id"] != first.json["id"]
    aged(database, tenant, timedelta(hours=25))
    with database.statement() as connection:
        assert idempotency.forget_old_keys(connection) >= 1


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_a_key_that_is_none_is_refused(tenant, key):
    assert asked(tenant, key).json["field"] == "Idempotency-Key"


def test_an_answer_with_a_secret_is_not_kept(tenant):
    refused = asked(tenant, "k", {"name": "n"}, "/api/api-keys")
    assert (refused.status_code, refused.json["field"]) == (400, "Idempotency-Key")
