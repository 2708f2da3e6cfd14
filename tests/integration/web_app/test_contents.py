"""What a batch says, on its way from the API to the sealed plan."""

import hashlib

import pytest
from pydantic import SecretStr

from models.plan import Plan
from web_app import create_app

FILE = b"%PDF-1.7"
HASH = hashlib.sha256(FILE).hexdigest()


@pytest.fixture
def settings(settings):
    return settings.model_copy(
        update={
            "unsubscribe_keys": SecretStr("k" * 32),
            "public_url": "https://send.example",
            "max_attachment_bytes": 10,
        }
    )


def post_file(caller, content=FILE):
    return caller.ask("POST", "/api/attachments", data=content)


def queued(tenant, **fields):
    """Answer of sending a batch of one."""
    made = tenant.post(
        "/api/batches",
        {"sendConfig": "hook", "recipients": [{"address": "a@x.io"}], **fields},
    )
    assert made.status_code == 201, made.text
    return made.json["id"], tenant.post(f"/api/batches/{made.json['id']}/send")


def plan_of(database, batch_id):
    with database.statement() as connection:
        found = connection.exec_driver_sql(
            "select * from batches where id = %s", (batch_id,)
        )
        return Plan.of_row(dict(found.mappings().one()))


def files(*hashes):
    about = {"filename": "a.pdf", "contentType": "application/pdf"}
    return [{"sha256": one, **about} for one in hashes]


def test_defaults_are_sealed_under_what_the_batch_says(tenant, database):
    """Whoever changes them later changes no batch that was sent."""
    defaults = {"replyTo": "help@x.io", "subject": "Default", "listUnsubscribe": True}
    tenant.make_config("other", defaults=defaults)
    payload = {"subject": "Own", "text": "{{ unsubscribe_url }}"}

    batch_id, answer = queued(tenant, sendConfig="other", payload=payload)

    assert answer.status_code == 202, answer.text
    plan = plan_of(database, batch_id)
    assert plan.content == defaults | payload
    assert plan.unsubscribing.url == "https://send.example/u/"


def test_a_batch_can_refuse_its_configs_default(tenant, database):
    """A password mail has no list to leave."""
    tenant.make_config("other", defaults={"listUnsubscribe": True})
    payload = {"text": "x", "listUnsubscribe": False}

    batch_id, _ = queued(tenant, sendConfig="other", payload=payload)

    assert plan_of(database, batch_id).unsubscribing is None


def test_a_file_is_stored_once_and_sent_one_by_one(tenant, database):
    """Posted twice, named by its hash; a call with files has one message."""
    posted = [post_file(tenant) for _ in range(2)]
    payload = {"text": "x", "attachments": files(HASH)}

    batch_id, answer = queued(tenant, payload=payload)

    assert [one.json for one in posted] == [{"sha256": HASH, "bytes": 8}] * 2
    assert answer.status_code == 202, answer.text
    assert plan_of(database, batch_id).grid.call == 1
    with database.statement() as connection:
        stored = connection.exec_driver_sql(
            "select count(*) from attachments where tenant_id = %s", (tenant.tenant_id,)
        ).scalar()
    assert stored == 1


def test_files_that_are_missing_too_large_or_anothers_are_refused(tenant, make_caller):
    """Before anybody is sent anything; knowing a hash is not having the file."""
    post_file(make_caller())
    other = post_file(tenant, b"12345").json["sha256"]
    third = post_file(tenant, b"123456").json["sha256"]

    answers = [
        queued(tenant, payload={"text": "x", "attachments": files(*hashes)})[1]
        for hashes in ([HASH], [other, third], [third, third])
    ]

    assert [one.status_code for one in answers] == [400] * 3
    assert {one.json["field"] for one in answers} == {"payload.attachments"}
    assert post_file(tenant, b"x" * 11).status_code == 413
    assert post_file(tenant, b"").status_code == 400


def test_what_the_provider_cannot_carry_is_refused_when_sent(tenant):
    """The batch stays a draft that can be corrected."""
    tenant.make_config(
        "text", channel="sms", provider="telnyx", settings={"from": "+12125550199"},
        credentials={"apiKey": "KEY"},
    )  # fmt: skip
    people = [{"address": "+12125550100"}]

    _, answer = queued(
        tenant,
        sendConfig="text",
        payload={"text": "x", "cc": ["a@x.io"]},
        recipients=people,
    )

    assert (answer.status_code, answer.json["field"]) == (400, "payload.cc")


def test_without_a_key_no_link_is_promised(tenant, app, settings):
    """The server must be able to take an unsubscription."""
    bare = settings.model_copy(update={"unsubscribe_keys": SecretStr("")})
    tenant.client.application = create_app(bare)

    _, answer = queued(tenant, payload={"text": "x", "listUnsubscribe": True})

    assert answer.status_code == 400
    assert "UNSUBSCRIBE_KEYS" in answer.json["detail"]
