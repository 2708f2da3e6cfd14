"""Which config another may fall back on, and what the API shows of it."""

from uuid import uuid4

import pytest

ROWS = "email,name\na@example.com,Ann\nb@example.com,Bob\n"


def asked(tenant, **fields):
    body = {
        "name": "first",
        "channel": "email",
        "provider": "custom",
        "settings": {"url": "http://127.0.0.1:9/"},
    }
    return tenant.post("/api/send-configs", body | fields)


def test_a_config_names_its_fallback_by_name_or_id(tenant):
    other = tenant.make_config("other")

    by_name = asked(tenant, fallback="other")
    by_id = asked(tenant, name="second", fallback=other["id"])

    assert [by_name.json["fallback"], by_id.json["fallback"]] == ["other", "other"]
    listed = tenant.get("/api/send-configs").json["sendConfigs"]
    shown = {one["name"]: one["fallback"] for one in listed}
    assert (shown["first"], shown["second"], shown["other"]) == ("other", "other", None)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"fallback": "nobody"}, "make it first"),
        ({"fallback": "first"}, "make it first"),
        ({"fallback": str(uuid4())}, "make it first"),
        ({"fallback": "theirs"}, "make it first"),
        ({"fallback": "texts"}, "same channel"),
        ({"fallback": 7}, "text"),
    ],
)
def test_what_cannot_be_fallen_back_on_is_refused(tenant, make_caller, fields, said):
    """Nobody else's, none of another channel, not itself: it must exist before."""
    tenant.make_config("texts", channel="sms")
    make_caller().make_config("theirs")

    refused = asked(tenant, **fields)

    assert (refused.status_code, refused.json["field"]) == (400, "fallback")
    assert said in refused.json["detail"]


def test_a_batch_shows_its_fallback_and_who_sent(tenant, database):
    """Only where it has one: counts by config, from the ledger."""
    tenant.make_config("other")
    tenant.make_config("plain")
    tenant.make_config("first", fallback="other")
    shown = []
    for config in ("first", "plain"):
        batch_id = tenant.make_batch(sendConfig=config)
        tenant.upload(batch_id, ROWS)
        assert tenant.post(f"/api/batches/{batch_id}/send").status_code == 202
        with database.transaction() as connection:
            connection.exec_driver_sql(_SENT, (batch_id,))
        shown.append(tenant.get(f"/api/batches/{batch_id}").json)

    assert [one["fallback"] for one in shown] == ["other", None]
    assert [one["sentBy"] for one in shown] == [{"first": 1, "other": 1}, None]


_SENT = """
    insert into chunks (batch_id, tenant_id, no, first, last, sent, failed, unknown,
        suppressed, cancelled, doubt, late, by_fallback)
    select id, tenant_id, 0, 0, 1, '11', '00', '00', '00', '00', '00', '00', '10'
    from batches where id = %s
"""


def test_a_fallback_that_cannot_carry_the_content_refuses_the_send(tenant):
    """It would fail each message when it is needed."""
    lime = {"user": "u", "apiId": "a"}
    lists = {"provider": "lime", "channel": "sms", "credentials": lime, "settings": {}}
    assert asked(tenant, name="lime", **lists).status_code == 201
    assert asked(tenant, channel="sms", fallback="lime").status_code == 201
    payload = {"text": "Hello", "tags": {"kind": "news"}}
    batch_id = tenant.make_batch(sendConfig="first", payload=payload)
    tenant.upload(batch_id, "phone\n+4915112345678\n")

    refused = tenant.post(f"/api/batches/{batch_id}/send")

    assert refused.status_code == 400
