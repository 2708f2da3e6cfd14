"""What a tenant can do over HTTP, and what becomes of mistakes."""

import re
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from flask import Flask

from models.database import Database
from models.errors import NeighbourUnavailableError
from models.queries.api_keys import revoke_api_key
from settings import Settings
from web_app import create_app
from web_app.services import Neighbours

ROWS = "email,name\na@example.com,Ann\nb@example.com,Bob\n"


def test_a_batch_is_made_filled_and_queued(tenant):
    batch_id = tenant.make_batch(name="May")

    taken = tenant.upload(batch_id, ROWS)
    sent = tenant.post(f"/api/batches/{batch_id}/send")

    assert taken.json == {
        "part": 0,
        "rows": 2,
        "added": 2,
        "duplicates": 0,
        "invalid": 0,
        "errors": [],
    }
    assert sent.status_code == 202
    shown = tenant.get(f"/api/batches/{batch_id}").json
    assert (shown["status"], shown["name"], shown["recipients"]) == ("queued", "May", 2)
    assert shown["counts"] == dict.fromkeys(
        ("sent", "failed", "unknown", "suppressed", "cancelled"), 0
    )
    assert [s["name"] for s in shown["stations"]] == [
        "discover",
        "expand",
        "send",
        "sync",
        "log",
    ]
    assert shown["stations"][0]["startedAt"] == shown["queuedAt"]


def test_bad_rows_are_reported_by_line_and_the_same_part_counts_once(tenant):
    batch_id = tenant.make_batch()
    rows = "email\na@example.com\nno address\nA@example.com\na@EXAMPLE.com\n"

    first = tenant.upload(batch_id, rows, part=3)
    again = tenant.upload(batch_id, "email\nz@example.com\n", part=3)

    assert first.json["rows"] == 4
    assert [error["line"] for error in first.json["errors"]] == [3]
    assert again.json == first.json
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert tenant.get(f"/api/batches/{batch_id}").json["rows"] == 4


def test_inline_recipients_are_taken_with_the_batch(tenant):
    people = [{"address": "a@example.com", "name": "Ann"}, {"address": "nobody"}]

    made = tenant.post(
        "/api/batches",
        {"sendConfig": "hook", "payload": {"text": "{{ name }}"}, "recipients": people},
    )

    assert (made.json["recipients"], made.json["invalid"]) == (1, 1)
    page = tenant.get(f"/api/batches/{made.json['id']}/recipients").json
    assert page == {
        "recipients": [
            {
                "seq": 0,
                "address": "a@example.com",
                "status": "pending",
                "providerMessageId": None,
                "error": None,
            }
        ],
        "next": None,
    }


def test_pages_go_on_where_the_last_ended(tenant):
    batch_ids = [tenant.make_batch() for _ in range(3)]
    tenant.upload(batch_ids[0], "email\n" + "".join(f"u{i}@x.io\n" for i in range(5)))

    first = tenant.get("/api/batches?limit=2").json
    rest = tenant.get(f"/api/batches?limit=2&after={first['next']}").json
    people = f"/api/batches/{batch_ids[0]}/recipients"
    page = tenant.get(f"{people}?limit=2&after=1&status=pending").json

    shown = [batch["id"] for batch in first["batches"] + rest["batches"]]
    assert shown == batch_ids[::-1]
    assert rest["next"] is None
    assert [person["seq"] for person in page["recipients"]] == [2, 3]
    assert page["next"] == 3
    assert tenant.get(f"{people}?after=3").json["next"] is None


def test_a_batch_goes_through_its_states_and_refuses_the_others(tenant, database):
    batch_id = tenant.make_batch("Hi")
    tenant.upload(batch_id, ROWS)
    at = f"/api/batches/{batch_id}"

    assert tenant.post(f"{at}/pause").status_code == 409
    assert tenant.post(f"{at}/cancel").status_code == 409
    assert tenant.post(f"{at}/send").status_code == 202
    assert tenant.post(f"{at}/send").status_code == 409
    assert tenant.upload(batch_id, ROWS, part=1).status_code == 409
    with database.statement() as connection:
        connection.exec_driver_sql(
            "update batches set status = 'processing' where id = %s", (batch_id,)
        )
    assert tenant.post(f"{at}/pause").json["status"] == "paused"
    assert tenant.post(f"{at}/pause").status_code == 409
    assert tenant.post(f"{at}/resume").json["status"] == "processing"
    assert tenant.post(f"{at}/resume").status_code == 409
    assert tenant.post(f"{at}/cancel").json["status"] == "cancelled"


def test_a_cancelled_batch_that_never_began_has_only_cancelled_recipients(tenant):
    batch_id = tenant.make_batch("Hi")
    tenant.upload(batch_id, ROWS)
    tenant.post(f"/api/batches/{batch_id}/send")

    cancelled = tenant.post(f"/api/batches/{batch_id}/cancel").json

    assert cancelled["counts"]["cancelled"] == 2
    assert cancelled["finishedAt"] is not None
    page = tenant.get(f"/api/batches/{batch_id}/recipients?status=cancelled").json
    assert len(page["recipients"]) == 2


def test_a_config_keeps_its_secret_and_its_name(tenant, database):
    made = tenant.make_config("second", credentials={"secret": "hush"})

    again = tenant.post(
        "/api/send-configs",
        {
            "name": "second",
            "channel": "sms",
            "provider": "custom",
            "settings": {"url": "http://x"},
        },
    )

    assert again.status_code == 409
    assert made["rateLimit"] == {"perSecond": 50.0, "burst": 25.0}
    assert made["policy"] == "at_most_once"
    listed = tenant.get("/api/send-configs")
    assert [config["name"] for config in listed.json["sendConfigs"]] == [
        "hook",
        "second",
    ]
    assert "hush" not in listed.text
    with database.statement() as connection:
        kept = connection.exec_driver_sql(
            "select credentials from send_configs where id = %s", (made["id"],)
        ).scalar()
    assert b"hush" not in bytes(kept)


def test_a_held_config_is_let_go(tenant, database):
    """The reason is shown until then; a second time changes nothing."""
    config_id = tenant.make_config("second")["id"]
    with database.transaction() as connection:
        connection.exec_driver_sql(
            "update send_configs set held_reason = 'Quota.' where id = %s", (config_id,)
        )
    listed = tenant.get("/api/send-configs").json["sendConfigs"]

    shown = [tenant.post(f"/api/send-configs/{config_id}/resume") for _ in range(2)]

    assert [config["heldReason"] for config in listed] == [None, "Quota."]
    assert [one.json["heldReason"] for one in shown] == [None, None]


@pytest.mark.parametrize(
    ("provider", "channel", "chosen", "credentials", "rate"),
    [
        ("resend", "email", {}, {"apiKey": "re_x"}, 100),
        (
            "ses",
            "email",
            {"region": "eu-central-1"},
            {"accessKeyId": "AKIA", "secretAccessKey": "hush"},
            14,
        ),
        ("telnyx", "sms", {"from": "+12125550100"}, {"apiKey": "KEY"}, 50),
        ("lime", "sms", {}, {"user": "me", "apiId": "hush"}, 50),
    ],
)
def test_each_provider_has_configs(
    *, tenant, provider, channel, chosen, credentials, rate
):
    """With the card's rate, and credentials that are not shown."""
    made = tenant.make_config(
        "second",
        provider=provider,
        channel=channel,
        settings=chosen,
        credentials=credentials,
    )

    assert made["rateLimit"]["perSecond"] == rate
    assert "hush" not in str(made)


def test_nobody_sees_another_tenants_things(app: Flask, make_caller: Callable, tenant):
    """Every address that names a thing answers a stranger as if there were none."""
    stranger = make_caller()
    batch_id = tenant.make_batch()
    config_id = tenant.get("/api/send-configs").json["sendConfigs"][0]["id"]
    named = {
        "<uuid:batch_id>": batch_id,
        "<uuid:config_id>": config_id,
        "<uuid:message_id>": batch_id,
        "<prefix>": tenant.key.split("_")[1],
    }
    tenant.upload(batch_id, ROWS)
    # The operator's addresses are no tenant's; see `test_rate_limits`. Those that ask
    # the event log, and those of endpoints, have tests of their own.
    rules = [
        rule
        for rule in app.url_map.iter_rules()
        if rule.arguments
        and "/admin/" not in str(rule)
        and not rule.endpoint.startswith(("analytics.", "webhook_endpoints."))
    ]

    answers = {
        (method, str(rule)): stranger.ask(
            method,
            re.sub("<.*?>", lambda found: named[found[0]], str(rule)) + "?part=9",
            data=ROWS if "recipients" in str(rule) else "{}",
            content_type="text/csv",
        ).status_code
        for rule in rules
        for method in rule.methods & {"GET", "POST", "PUT", "DELETE"}
    }

    assert len(answers) == 13
    assert set(answers.values()) == {404}
    borrowed = {"sendConfigId": tenant.get("/api/send-configs").json["sendConfigs"][0]}
    body = {"sendConfigId": borrowed["sendConfigId"]["id"], "payload": {"text": "x"}}
    assert stranger.post("/api/batches", body).status_code == 404
    assert stranger.get(f"/api/batches?after={batch_id}").status_code == 404
    assert stranger.get("/api/batches").json["batches"] == []
    assert tenant.get(f"/api/batches/{batch_id}").json["status"] == "draft"


def test_only_a_key_in_use_opens_the_api(app: Flask, tenant, database):
    client = app.test_client()
    rules = [rule for rule in app.url_map.iter_rules() if "/api" in str(rule)]

    for rule in rules:
        path = re.sub("<.*?>", str(uuid4()), str(rule).replace("<int:seq>", "0"))
        for method in rule.methods & {"GET", "POST"}:
            refused = client.open(path, method=method)
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"] == "Bearer"
    with database.transaction() as connection:
        revoke_api_key(connection, tenant.tenant_id, tenant.key.split("_")[1])
    assert tenant.get("/api/batches").status_code == 401


def test_without_postgres_the_api_asks_to_come_back(settings: Settings):
    away = settings.model_copy(
        update={"database_url": _secret("postgresql://u:hush@127.0.0.1:9/x")}
    )
    client = create_app(away).test_client()

    refused = client.get("/api/batches", headers={"Authorization": "Bearer bs_a_b"})

    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "5"
    assert "127.0.0.1" not in refused.text
    assert client.get("/health").json == {"status": "ok"}
    ready = client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json["neighbours"]["postgres"] == "away"


def _secret(text: str):
    return type(Settings.model_fields["session_secret"].default)(text)


def test_without_the_other_neighbours_a_batch_is_still_shown(
    settings: Settings, tenant, database: Database
):
    def away(_: object) -> dict[str, int]:
        raise NeighbourUnavailableError("secret-host does not answer.")

    neighbours = Neighbours(away, away, {"dragonfly": lambda: away(None) and None})
    batch_id = _processing_batch(tenant, database)
    tenant.client.application = create_app(settings, neighbours)

    shown = tenant.get(f"/api/batches/{batch_id}")
    stats = tenant.get(f"/api/batches/{batch_id}/stats")

    assert (shown.status_code, shown.json["live"]) == (200, None)
    assert stats.status_code == 503
    assert "secret-host" not in stats.text
    ready = tenant.get("/health/ready")
    assert ready.status_code == 200
    assert ready.json["neighbours"] == {"postgres": "ok", "dragonfly": "away"}


def test_live_counts_and_statistics_come_from_the_neighbours(
    settings: Settings, tenant, database: Database
):
    def counts(batch_id: str) -> dict[str, int]:
        return {"sent": 1, "failed": 0, "unknown": 0, "suppressed": 0, "cancelled": 0}

    def logged(batch_id: UUID) -> dict[str, int]:
        return {"queued": 2, "sent": 1}

    batch_id = _processing_batch(tenant, database)
    tenant.client.application = create_app(settings, Neighbours(counts, logged))

    assert tenant.get(f"/api/batches/{batch_id}").json["live"]["sent"] == 1
    stats = tenant.get(f"/api/batches/{batch_id}/stats").json
    assert (stats["queued"], stats["sent"]) == (2, 1)
    assert stats["asOf"].endswith("+00:00")


def _processing_batch(tenant, database: Database) -> str:
    batch_id = tenant.make_batch("Hi")
    tenant.upload(batch_id, ROWS)
    with database.statement() as connection:
        connection.exec_driver_sql(
            "update batches set status = 'processing', started_at = now()"
            " where id = %s",
            (batch_id,),
        )
    return batch_id
