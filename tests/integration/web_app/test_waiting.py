"""Why a batch waits, as its tenant reads it, and how long a config's retries go on."""

import pytest
from sqlalchemy import text

from models.breaker import BreakerSeen
from models.errors import NeighbourUnavailableError
from web_app import create_app
from web_app.services import Neighbours


@pytest.fixture
def ask(settings, tenant, database):
    """Ask about a batch that is processing, where breakers stand as told."""
    batch_id = tenant.make_batch()
    with database.statement() as connection:
        connection.execute(
            text("update batches set status = 'processing' where id = :id"),
            {"id": batch_id},
        )

    def asked(path, breaker, shortages=None):
        app = create_app(settings, Neighbours(breaker=breaker, shortages=shortages))
        headers = {"Authorization": f"Bearer {tenant.key}"}
        return app.test_client().get(path.format(batch_id), headers=headers).json

    return asked


def test_a_batch_tells_that_its_provider_fails(ask):
    """And its config how long that has been so."""
    seen = BreakerSeen("open", open_for_s=300.0, next_probe_in_s=12.0)

    batch = ask("/api/batches/{}", lambda _: seen)
    [config] = ask("/api/send-configs", lambda _: seen)["sendConfigs"]

    assert "has been failing for 5 min" in batch["reason"]
    assert config["breaker"] == {
        "state": "open",
        "openForSeconds": 300.0,
        "nextProbeInSeconds": 12.0,
    }


def test_a_batch_tells_that_its_config_is_held(ask, database, tenant):
    """With the reason that a person must mend."""
    with database.statement() as connection:
        connection.execute(
            text("update send_configs set held_reason = 'Quota.' where tenant_id = :t"),
            {"t": tenant.tenant_id},
        )

    assert ask("/api/batches/{}", None)["reason"] == "Quota."


def test_a_batch_tells_that_its_configs_default_limits_it(ask):
    """50 a second for one's own endpoint; alone and in the list."""
    told = {"level": "config", "text": "limited by the config's 50/s"}

    def shortages(ids):
        return dict.fromkeys(ids, told)

    batch = ask("/api/batches/{}", None, shortages)
    [listed] = ask("/api/batches", None, shortages)["batches"]
    [config] = ask("/api/send-configs", None)["sendConfigs"]

    assert batch["limitedBy"] == listed["limitedBy"] == told
    assert config["rateLimit"]["perSecond"] == 50.0


def test_without_dragonfly_nothing_is_told_of_breakers(ask):
    def away(_):
        raise NeighbourUnavailableError("Dragonfly does not answer.")

    assert ask("/api/batches/{}", away)["reason"] is None
    [config] = ask("/api/send-configs", away)["sendConfigs"]
    assert config["breaker"] is None


def test_a_config_says_how_long_refusals_are_put_up_with(tenant):
    """A day, where it says nothing."""
    own = tenant.make_config("own", retryLimit={"seconds": 3600, "times": 5})
    plain = tenant.make_config("plain")

    assert own["retryLimit"] == {"seconds": 3600.0, "times": 5}
    assert plain["retryLimit"] == {"seconds": 86400.0, "times": None}


@pytest.mark.parametrize(
    "given", [{"seconds": 0}, {"seconds": "x"}, {"times": 0}, {"times": 1.5}, {"x": 1}]
)
def test_a_limit_of_retries_that_makes_no_sense_is_refused(tenant, given):
    body = {
        "name": "wrong",
        "channel": "email",
        "provider": "custom",
        "settings": {"url": "http://127.0.0.1:9/"},
        "retryLimit": given,
    }

    answer = tenant.post("/api/send-configs", body)

    assert answer.status_code == 400
    assert answer.json["field"].startswith("retryLimit.")
