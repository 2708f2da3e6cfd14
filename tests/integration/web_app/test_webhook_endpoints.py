"""A tenant's endpoints: made, changed, tried, looked at, and nobody else's."""

from uuid import uuid4

import pytest
from sqlalchemy import text

from models import credentials
from models.outgoing import Secrets
from models.queries import endpoints
from tests.integration.web_app.conftest import KEY

PATH = "/api/webhook-endpoints"
BODY = {"url": "https://example.com/hook", "events": ["message.sent"]}
AN_ID = "0199a0f0-0000-7000-8000-000000000000"


@pytest.fixture
def made(tenant):
    answer = tenant.post(PATH, BODY)
    assert answer.status_code == 201, answer.text
    return answer.json


def kept_secrets(database, endpoint_id):
    """What the worker reads."""
    with database.statement() as connection:
        sealed = connection.execute(
            text("select secret from webhook_endpoints where id = :id"),
            {"id": endpoint_id},
        ).scalar_one()
    return Secrets.of(credentials.unseal(bytes(sealed), KEY))


def change(tenant, endpoint_id, **fields):
    return tenant.ask("PATCH", f"{PATH}/{endpoint_id}", json=fields)


def test_an_endpoints_secret_is_shown_once(tenant, made, database):
    """And what is stored is sealed."""
    listed = tenant.get(PATH).json["webhookEndpoints"]
    shown = tenant.get(f"{PATH}/{made['id']}").json

    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert listed == [made]
    assert shown == made
    assert made["state"] == "enabled"
    assert made["batchSize"] == 50
    assert kept_secrets(database, made["id"]).secret == secret


def test_what_is_given_is_changed_and_the_rest_stays(tenant, made):
    answer = change(tenant, made["id"], events=["message.failed"], description="Ours")

    assert answer.status_code == 200
    assert answer.json["events"] == ["message.failed"]
    assert answer.json["description"] == "Ours"
    assert answer.json["url"] == BODY["url"]


def test_an_endpoint_is_disabled_and_enabled(tenant, made):
    """What waits for it ends, and can be replayed later."""
    tenant.post(f"{PATH}/{made['id']}/test")

    disabled = change(tenant, made["id"], enabled=False).json
    ended = tenant.get(f"{PATH}/{made['id']}/deliveries").json["deliveries"]
    enabled = change(tenant, made["id"], enabled=True).json

    assert disabled["state"] == "disabled"
    assert disabled["disabledReason"] == "Its owner disabled it."
    assert [one["state"] for one in ended] == ["failed"]
    assert (enabled["state"], enabled["disabledReason"]) == ("enabled", None)


def test_a_new_secret_overlaps_with_the_old_one(tenant, made, database):
    answer = tenant.post(f"{PATH}/{made['id']}/rotate-secret", {"overlapSeconds": 60})

    kept = kept_secrets(database, made["id"])
    assert answer.json["secret"] == kept.secret
    assert kept.former == made["secret"]
    assert kept.signing(kept.former_until) == [kept.secret]


def test_a_test_is_a_delivery_like_any_other(tenant, made):
    answer = tenant.post(f"{PATH}/{made['id']}/test")

    (found,) = tenant.get(f"{PATH}/{made['id']}/deliveries").json["deliveries"]
    assert answer.status_code == 202
    assert found == answer.json
    assert (found["state"], found["types"]) == ("pending", ["endpoint.test"])


def test_deliveries_come_in_pages_the_newest_first(tenant, made):
    path = f"{PATH}/{made['id']}/deliveries"
    ids = [tenant.post(f"{PATH}/{made['id']}/test").json["id"] for _ in range(3)]

    first = tenant.get(f"{path}?limit=2").json
    second = tenant.get(f"{path}?limit=2&before={first['next']}").json

    pages = [[one["id"] for one in page["deliveries"]] for page in (first, second)]
    assert pages == [[ids[2], ids[1]], [ids[0]]]
    assert second["next"] is None
    assert tenant.get(f"{path}?state=failed").json["deliveries"] == []


def test_what_ended_is_replayed(tenant, made):
    """One by its id, or what failed since a time, or all of it."""
    path = f"{PATH}/{made['id']}"
    one = tenant.post(f"{path}/test").json["id"]
    since = {"since": "2020-01-01T00:00:00Z"}
    change(tenant, made["id"], enabled=False)
    change(tenant, made["id"], enabled=True)

    assert tenant.post(f"{path}/replay", since).json == {"replayed": 1}
    assert tenant.post(f"{path}/replay", since | {"all": True}).json["replayed"] == 0
    assert tenant.post(f"{path}/deliveries/{one}/replay").status_code == 202
    later = {"since": "2120-01-01T00:00:00Z", "all": True}
    assert tenant.post(f"{path}/replay", later).json == {"replayed": 0}


def test_a_deleted_endpoint_is_gone_with_its_deliveries(tenant, made):
    tenant.post(f"{PATH}/{made['id']}/test")

    assert tenant.ask("DELETE", f"{PATH}/{made['id']}").status_code == 204

    assert tenant.get(f"{PATH}/{made['id']}").status_code == 404
    assert tenant.ask("DELETE", f"{PATH}/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/test"),
        ("POST", "/rotate-secret"),
        ("POST", "/replay"),
        ("GET", "/deliveries"),
        ("POST", f"/deliveries/{AN_ID}/replay"),
    ],
)
def test_another_tenants_endpoint_is_not_there(*, made, make_caller, method, rest):
    """Whatever is asked; nothing is changed."""
    other = make_caller()
    body = {"since": "2020-01-01T00:00:00Z"} if rest == "/replay" else {}

    answer = other.ask(method, f"{PATH}/{made['id']}{rest}", json=body)

    assert answer.status_code == 404, answer.text
    assert other.get(PATH).json == {"webhookEndpoints": []}


def test_another_endpoints_delivery_is_not_replayed(tenant, made):
    """Also where both are the same tenant's."""
    other = tenant.post(PATH, BODY).json["id"]
    delivery = tenant.post(f"{PATH}/{other}/test").json["id"]

    path = f"{PATH}/{made['id']}/deliveries/{delivery}/replay"
    assert tenant.post(path).status_code == 404


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://user:pw@example.com"}, "url"),
        ({"url": "https://example.com/" + "a" * 2000}, "url"),
        ({"events": []}, "events"),
        ({"events": ["message.eaten"]}, "events"),
        ({"events": [{}]}, "events"),
        ({"batchSize": 501}, "batchSize"),
        ({"batchSize": True}, "batchSize"),
        ({"secret": "whsec_mine"}, "secret"),
        ({"description": 7}, "description"),
    ],
)
def test_what_is_wrong_is_named(tenant, fields, named):
    answer = tenant.post(PATH, BODY | fields)

    assert (answer.status_code, answer.json.get("field")) == (400, named), answer.text


@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [
        ("PATCH", "", {"enabled": "yes"}),
        ("POST", "/rotate-secret", {"overlapSeconds": -1}),
        ("POST", "/replay", {}),
        ("POST", "/replay", {"since": "2020-01-01T00:00:00Z", "all": 1}),
        ("GET", "/deliveries?state=eaten", None),
        ("GET", "/deliveries?before=1", None),
    ],
)
def test_what_cannot_be_done_is_refused(*, tenant, made, method, rest, body):
    answer = tenant.ask(method, f"{PATH}/{made['id']}{rest}", json=body)

    assert answer.status_code == 400, answer.text


def test_a_tenant_has_not_too_many(tenant, monkeypatch):
    monkeypatch.setattr(endpoints, "MOST", 1)
    tenant.post(PATH, BODY)

    assert tenant.post(PATH, BODY).status_code == 409


def test_nobody_is_let_in_without_a_key(app):
    assert app.test_client().get(PATH).status_code == 401
    assert app.test_client().post(f"{PATH}/{uuid4()}/test").status_code == 401


@pytest.mark.parametrize("rest", ["", "/{id}/rotate-secret"])
def test_an_answer_with_a_secret_is_stored_under_no_key(tenant, made, rest):
    """What is shown once must not lie in a table."""
    path = PATH + rest.format(id=made["id"])

    answer = tenant.ask("POST", path, json=BODY, headers={"Idempotency-Key": "k"})

    assert (answer.status_code, answer.json["field"]) == (400, "Idempotency-Key")


def test_a_test_sent_again_under_its_key_is_one_delivery(tenant, made):
    path = f"{PATH}/{made['id']}"
    for _ in range(2):
        tenant.ask("POST", f"{path}/test", json={}, headers={"Idempotency-Key": "k"})

    assert len(tenant.get(f"{path}/deliveries").json["deliveries"]) == 1
