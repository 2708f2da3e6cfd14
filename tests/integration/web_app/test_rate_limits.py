"""The operator's limits, by the API: what holds, and where it comes from."""

from uuid import UUID

import pytest

from models.levels import MANAGED_PER_S
from models.queries.api_keys import SCOPES, create_api_key

LIMITS = "/api/admin/rate-limits"


@pytest.fixture
def operator(tenant, database):
    """Ask about a limit by a key that has the scope; no override is left behind."""
    with database.transaction() as connection:
        key = create_api_key(connection, tenant.tenant_id, "operator", scopes=SCOPES)
    changed = set()

    def ask(method, path, **options):
        changed.add(path)
        headers = {"Authorization": f"Bearer {key}"}
        return tenant.ask(method, f"{LIMITS}{path}", headers=headers, **options)

    yield ask
    for path in [*changed]:
        ask("DELETE", path)


def test_an_override_holds_until_it_is_taken_back(operator, tenant):
    path = f"/tenant/{tenant.tenant_id}"
    assert operator("GET", path).json["source"] == "none"

    body = {"perSecond": 20, "burst": 5, "reason": "a new address"}
    told = operator("PUT", path, json=body)

    assert told.status_code == 200
    assert told.json == operator("GET", path).json
    assert (told.json["perSecond"], told.json["burst"]) == (20, 5)
    assert told.json["source"] == "override"
    listed = operator("GET", "").json["overrides"]
    mine = next(one for one in listed if one["scope"] == f"tenant:{tenant.tenant_id}")
    assert mine["reason"] == "a new address"
    assert operator("DELETE", path).status_code == 204
    assert operator("DELETE", path).status_code == 404
    assert operator("GET", path).json["perSecond"] is None


def test_every_level_has_its_default(operator, tenant, settings):
    config = tenant.make_config("slow", rateLimit={"perSecond": 7})

    assert operator("GET", "/system").json["perSecond"] == settings.system_rate_per_s
    assert operator("GET", "/provider/ses").json["perSecond"] == MANAGED_PER_S
    found = operator("GET", f"/config/{config['id']}").json
    assert (found["perSecond"], found["source"]) == (7, "config")


@pytest.mark.parametrize(
    "path",
    ["/planet", "/provider/none", "/tenant/x", f"/config/{UUID(int=1)}", "/tenant"],
)
def test_a_level_that_is_not_there_cannot_be_limited(operator, path):
    assert operator("PUT", path, json={"perSecond": 1}).status_code == 404
    assert operator("GET", path).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"perSecond": 0},
        {"perSecond": "1"},
        {"perSecond": True},
        {"perSecond": 1, "burst": 0.5},
        {"perSecond": 1, "reason": 1},
        {"perSecond": 1, "x": 1},
    ],
)
def test_a_limit_that_cannot_be_changes_nothing(operator, body):
    assert operator("PUT", "/system", json=body).status_code == 400
    assert operator("GET", "/system").json["source"] == "default"


def test_it_is_the_operators_alone(tenant):
    for method, path in (("GET", ""), ("GET", "/system"), ("PUT", "/system")):
        refused = tenant.ask(method, f"{LIMITS}{path}", json={"perSecond": 1})
        assert refused.status_code == 403
