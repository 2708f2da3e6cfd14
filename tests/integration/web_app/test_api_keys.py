"""Keys are shown once, reach as far as their scopes, and end."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text


def key_of(tenant, **body):
    made = tenant.post("/api/api-keys", {"name": "other", **body})
    assert made.status_code == 201, made.text
    return made.json["key"]


def asked(tenant, key, method="GET", path="/api/send-configs", **options):
    headers = {"Authorization": f"Bearer {key}"}
    return tenant.ask(method, path, headers=headers, **options)


def test_a_key_is_shown_once_and_listed_without_its_secret(tenant):
    key = key_of(tenant, scopes=["read", "read"])

    listed = tenant.get("/api/api-keys")

    mine = next(one for one in listed.json["apiKeys"] if one["name"] == "other")
    assert (mine["prefix"], mine["scopes"]) == (key.split("_")[1], ["read"])
    assert key.split("_")[2] not in listed.text
    assert asked(tenant, key).status_code == 200


def test_a_key_that_reads_changes_nothing(tenant):
    key = key_of(tenant, scopes=["read"])

    refused = asked(tenant, key, "POST", json={})

    assert refused.status_code == 403
    assert "scope" in refused.json["detail"]
    assert asked(tenant, key_of(tenant, scopes=["send"])).status_code == 403


def test_no_key_makes_one_that_reaches_further(tenant):
    body = {"name": "more", "scopes": ["read", "admin"]}
    assert tenant.post("/api/api-keys", body).status_code == 403
    assert [one["name"] for one in tenant.get("/api/api-keys").json["apiKeys"]] == [
        "tests"
    ]


def test_a_key_ends_by_its_time_or_by_hand(tenant, database):
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    key = key_of(tenant, expiresAt=soon)
    other = key_of(tenant)
    assert asked(tenant, key).status_code == 200
    with database.statement() as connection:
        connection.execute(
            text("update api_keys set expires_at = now() where prefix = :prefix"),
            {"prefix": key.split("_")[1]},
        )
    assert asked(tenant, key).status_code == 401

    path = f"/api/api-keys/{other.split('_')[1]}"
    assert tenant.ask("DELETE", path).status_code == 204
    assert asked(tenant, other).status_code == 401
    assert tenant.ask("DELETE", path).status_code == 404


def test_another_tenants_key_is_not_there(tenant, make_caller):
    key = key_of(make_caller())

    path = f"/api/api-keys/{key.split('_')[1]}"

    assert tenant.ask("DELETE", path).status_code == 404
    assert asked(tenant, key).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["write"]}, "scopes"),
        ({"scopes": "read"}, "scopes"),
        ({"name": ""}, "name"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"expiresAt": "tomorrow"}, "expiresAt"),
        ({"scope": ["read"]}, "scope"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tenant, body, field):
    refused = tenant.post("/api/api-keys", {"name": "other", **body})
    assert (refused.status_code, refused.json["field"]) == (400, field)
