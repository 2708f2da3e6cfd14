"""Mistakes in requests: each gets one sentence, and changes nothing."""

from uuid import UUID, uuid4

import pytest

from settings import Settings
from web_app import create_app
from web_app.services import Neighbours

ROWS = "email,name\na@example.com,Ann\nb@example.com,Bob\n"


@pytest.mark.parametrize(
    ("rows", "kind", "said"),
    [
        ("", "text/csv", "empty"),
        ("email\n", "text/csv", "no recipients"),
        ("name\nAnn\n", "text/csv", "No column holds the address"),
        (b"email\n\xff@example.com\n", "text/csv", "UTF-8"),
        ("[{]", "application/json", "not JSON"),
    ],
)
def test_an_upload_that_cannot_be_read_changes_nothing(tenant, rows, kind, said):
    batch_id = tenant.make_batch()

    refused = tenant.upload(batch_id, rows, kind=kind)

    assert refused.status_code == 400
    assert said in refused.json["detail"]
    assert tenant.get(f"/api/batches/{batch_id}").json["rows"] == 0
    assert tenant.upload(batch_id, ROWS).json["added"] == 2


def test_what_is_too_large_is_refused_with_and_without_a_length(tenant):
    batch_id = tenant.make_batch()
    path = f"/api/batches/{batch_id}/recipients?part=0"
    large = b"email\n" + b"x" * 2_000_001

    announced = tenant.upload(batch_id, large)
    streamed = tenant.ask(
        "POST",
        path,
        content_type="text/csv",
        environ_overrides={"wsgi.input": _Endless()},
    )
    long_row = tenant.upload(batch_id, b"email,name\na@x.io," + b"y" * 1_500_000)

    assert (announced.status_code, streamed.status_code) == (413, 413)
    assert long_row.status_code == 400
    assert "line 2" in long_row.json["detail"]
    assert tenant.get(f"/api/batches/{batch_id}").json["rows"] == 0


class _Endless:
    """A body that never ends."""

    def read(self, size: int = -1) -> bytes:
        return b"x" * max(size, 1)


def test_a_template_that_names_what_nobody_has_is_not_sent(tenant):
    batch_id = tenant.make_batch("Hello {{ nickname }}")

    empty = tenant.post(f"/api/batches/{batch_id}/send")
    tenant.upload(batch_id, ROWS)
    refused = tenant.post(f"/api/batches/{batch_id}/send")

    assert empty.status_code == 400
    assert "no recipients" in empty.json["detail"]
    assert refused.status_code == 400
    assert "nickname" in refused.json["detail"]
    assert tenant.get(f"/api/batches/{batch_id}").json["status"] == "draft"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"sendConfig": "other", "payload": {"text": "x"}}, 404, "sendConfig"),
        ({"sendConfigId": str(uuid4()), "payload": {"text": "x"}}, 404, "sendConfig"),
        ({"sendConfigId": 7, "payload": {"text": "x"}}, 400, "sendConfigId"),
        ({"payload": {"text": "x"}}, 400, "sendConfig"),
        ({"sendConfig": "hook"}, 400, "payload"),
        ({"sendConfig": "hook", "payload": {}}, 400, "payload"),
        ({"sendConfig": "hook", "payload": {"text": 1}}, 400, "payload.text"),
        ({"sendConfig": "hook", "payload": {"text": "{{"}}, 400, "payload.text"),
        ({"sendConfig": "hook", "payload": {"text": "\0"}}, 400, None),
        ({"sendConfig": "hook", "nope": 1, "payload": {}}, 400, "nope"),
        (
            {
                "sendConfig": "hook",
                "payload": {"text": "x"},
                "scheduledAt": "2026-01-01",
            },
            400,
            "scheduledAt",
        ),
        (
            {"sendConfig": "hook", "payload": {"text": "x"}, "recipients": "a"},
            400,
            "recipients",
        ),
        ({"sendConfig": "hook", "payload": {"text": "x"}, "name": ""}, 400, "name"),
    ],
)
def test_a_wrong_batch_is_refused_by_its_field(tenant, body, status, field):
    refused = tenant.post("/api/batches", body)

    assert refused.status_code == status
    assert refused.mimetype == "application/problem+json"
    assert refused.json.get("field") == field
    assert tenant.get("/api/batches").json["batches"] == []


def test_a_content_nested_too_deeply_is_refused(tenant):
    nested = '{"a":' * 500 + "1" + "}" * 500

    refused = tenant.ask(
        "POST",
        "/api/batches",
        data='{"sendConfig":"hook","payload":{"data":' + nested + "}}",
    )

    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"provider": "pigeon"}, "provider"),
        ({"channel": "pigeon"}, "channel"),
        ({"settings": {}}, "settings.url"),
        ({"settings": {"url": "http://x", "nope": 1}}, "settings.nope"),
        ({"rateLimit": {"perSecond": 0}}, "rateLimit.perSecond"),
        ({"rateLimit": {"perSecond": True}}, "rateLimit.perSecond"),
        ({"rateLimit": {"burst": 0.5}}, "rateLimit.burst"),
        ({"policy": "twice"}, "policy"),
        ({"credentials": {"password": "x"}}, "credentials.password"),
        ({"credentials": {"secret": ""}}, "credentials.secret"),
        ({"settings": []}, "settings"),
        ({"provider": "telnyx", "settings": {"from": "Us"}}, "channel"),
        ({"provider": "resend", "settings": {}}, "credentials.apiKey"),
        ({"provider": "resend", "settings": {"a": 1}}, "settings.a"),
    ],
)
def test_a_wrong_config_is_refused_by_its_field(tenant, fields, field):
    body = {
        "name": "n",
        "channel": "email",
        "provider": "custom",
        "settings": {"url": "http://x"},
    }

    refused = tenant.post("/api/send-configs", body | fields)

    assert (refused.status_code, refused.json["field"]) == (400, field)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("PUT", "/api/batches", 405),
        ("GET", "/api/batches?limit=0", 400),
        ("GET", "/api/batches?after=x", 400),
    ],
)
def test_a_wrong_address_is_a_problem_too(tenant, method, path, status):
    refused = tenant.ask(method, path)

    assert refused.status_code == status
    assert refused.json["status"] == status
    assert refused.json["title"]


def test_an_upload_says_what_it_is_and_which_part(tenant):
    batch_id = tenant.make_batch()
    at = f"/api/batches/{batch_id}/recipients"

    assert tenant.upload(batch_id, ROWS, kind="text/html").status_code == 415
    unnumbered = tenant.ask("POST", at, data=ROWS, content_type="text/csv")
    assert (unnumbered.status_code, unnumbered.json["field"]) == (400, "part")
    assert tenant.get(f"{at}?status=gone").status_code == 400


def test_a_failure_of_our_own_says_nothing_about_itself(
    settings: Settings, tenant, caplog
):
    def broken(batch_id: UUID) -> dict[str, int]:
        raise ValueError("hush")

    batch_id = tenant.make_batch()
    tenant.client.application = create_app(settings, Neighbours(batch_stats=broken))

    refused = tenant.get(f"/api/batches/{batch_id}/stats")

    assert refused.status_code == 500
    assert "hush" not in refused.text + caplog.text
    assert "ValueError" in caplog.text
