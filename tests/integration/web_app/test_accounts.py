"""Whose account a config sends by, and that nobody learns how."""

import logging

import pytest
from pydantic import SecretStr

from web_app import create_app
from web_app.services import Services

SECRET = "re_hush_hush_hush"
PLATFORM = "re_platform_platform"


@pytest.fixture
def settings(settings):
    """The platform has accounts at Resend and SES."""
    return settings.model_copy(
        update={
            "resend_api_key": SecretStr(PLATFORM),
            "aws_access_key_id": "AKIA",
            "aws_secret_access_key": SecretStr(PLATFORM),
            "aws_region": "eu-west-1",
        }
    )


def asked(**fields):
    made = {"name": "n", "channel": "email", "provider": "resend", "settings": {}}
    return made | fields


def row_of(database, config_id):
    with database.statement() as connection:
        found = connection.exec_driver_sql(
            "select * from send_configs where id = %s", (config_id,)
        )
        return dict(found.mappings().one())


def test_credentials_are_in_no_answer_no_log_and_no_repr(
    tenant, database, app, settings, caplog
):
    """Neither the tenant's nor the platform's, whatever is asked and refused."""
    with caplog.at_level(logging.DEBUG):
        made = tenant.post(
            "/api/send-configs", asked(credentials={"apiKey": SECRET}, name="own")
        )
        path = f"/api/send-configs/{made.json['id']}"
        answers = [
            made,
            tenant.post("/api/send-configs", asked(mode="managed")),
            tenant.post(
                "/api/send-configs",
                asked(mode="managed", credentials={"apiKey": SECRET}),
            ),
            tenant.post(
                "/api/send-configs", asked(credentials={"apiKey": SECRET, "x": SECRET})
            ),
            tenant.get("/api/send-configs"),
            tenant.ask("PUT", f"{path}/credentials", json={"apiKey": SECRET + "2"}),
            tenant.ask("PUT", f"{path}/credentials", json={"apiKey": [SECRET]}),
            tenant.post(f"{path}/resume"),
        ]

    assert [one.status_code for one in answers] == [
        *(201, 201, 400, 400, 200, 200, 400, 200)
    ]
    kept = row_of(database, made.json["id"])
    told = "".join(one.text for one in answers) + caplog.text
    told += f"{settings!r} {app.extensions[Services.NAME]!r} {kept!r}"
    for secret in (SECRET, PLATFORM, settings.credentials_key.get_secret_value()):
        assert secret not in told


def test_changed_credentials_are_another_account(tenant, database):
    """The revision says so; a config without credentials of its own has none."""
    own = tenant.make_config(**asked(credentials={"apiKey": SECRET}))
    managed = tenant.make_config(**asked(mode="managed", name="m"))
    body = {"apiKey": "re_other"}

    changed = tenant.ask("PUT", f"/api/send-configs/{own['id']}/credentials", json=body)
    refused = tenant.ask(
        "PUT", f"/api/send-configs/{managed['id']}/credentials", json=body
    )

    assert (changed.status_code, refused.status_code) == (200, 409)
    assert row_of(database, own["id"])["revision"] == 2
    assert row_of(database, managed["id"])["revision"] == 1
    assert row_of(database, managed["id"])["credentials"] is None


def test_another_tenants_credentials_are_not_changed(tenant, make_caller, database):
    """They are not even there."""
    own = tenant.make_config(**asked(credentials={"apiKey": SECRET}))
    path = f"/api/send-configs/{own['id']}/credentials"

    answer = make_caller().ask("PUT", path, json={"apiKey": "re_other"})

    assert answer.status_code == 404
    assert row_of(database, own["id"])["revision"] == 1


def test_a_managed_config_has_the_platforms_settings(tenant):
    """They are filled in, and shown."""
    made = tenant.make_config(**asked(provider="ses", mode="managed", settings={}))

    assert made["mode"] == "managed"
    assert made["settings"] == {"region": "eu-west-1"}
    assert made["rateLimit"] == {"perSecond": 14.0, "burst": 14.0}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"mode": "shared"}, "mode"),
        ({"mode": "managed", "provider": "custom"}, "mode"),
        ({"mode": "managed", "provider": "lime", "channel": "sms"}, "mode"),
        ({"mode": "managed", "credentials": {"apiKey": "x"}}, "credentials"),
        ({"mode": "managed", "rateLimit": {"perSecond": 101}}, "rateLimit.perSecond"),
        (
            {"mode": "managed", "rateLimit": {"perSecond": 9, "burst": 500}},
            "rateLimit.perSecond",
        ),
        (
            {"mode": "managed", "provider": "ses", "settings": {"region": "us-east-1"}},
            "settings.region",
        ),
        ({"credentials": 7}, "credentials"),
        ({"defaults": {"text": 7}, "mode": "managed"}, "defaults.text"),
        ({"defaults": {"from": "a@x.io"}, "mode": "managed"}, "defaults.from"),
    ],
)
def test_a_config_that_cannot_be_is_refused_by_its_field(tenant, fields, field):
    """Nothing is made."""
    answer = tenant.post("/api/send-configs", asked(**fields))

    assert (answer.status_code, answer.json.get("field")) == (400, field)


def test_without_an_account_of_its_own_a_server_manages_nothing(
    tenant, settings, database
):
    """A tenant is told to bring a key."""
    bare = create_app(settings.model_copy(update={"resend_api_key": SecretStr("")}))
    tenant.client.application = bare

    answer = tenant.post("/api/send-configs", asked(mode="managed"))

    assert "byok" in answer.json["detail"]
