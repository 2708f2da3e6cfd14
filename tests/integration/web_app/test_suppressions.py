"""Lists of addresses that nothing is sent to, by the API."""

import pytest

CSV = "address,reason\nAda@Example.com,asked\nbob@example.com,\nno address,x\n"


def addresses(tenant, query=""):
    found = tenant.get(f"/api/suppressions{query}").json
    return [row["address"] for row in found["suppressions"]]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (CSV, "text/csv"),
        (
            (
                '{"address":"Ada@Example.com","reason":"asked"}\n'
                '{"email":"bob@example.com"}\n{"to":"no address"}\n'
            ),
            "application/x-ndjson",
        ),
        (
            (
                '[{"address":"Ada@Example.com","reason":"asked"},'
                '{"email":"bob@example.com"},{"to":"no address"}]'
            ),
            "application/json",
        ),
    ],
)
def test_addresses_are_taken_as_recipients_are(tenant, body, kind):
    """The bad rows are named by line; the same again changes nothing."""
    first = tenant.ask("POST", "/api/suppressions", data=body, content_type=kind)
    again = tenant.ask("POST", "/api/suppressions", data=body, content_type=kind)

    assert (first.json["added"], first.json["known"], first.json["invalid"]) == (
        2,
        0,
        1,
    )
    assert [error["reason"] for error in first.json["errors"]] == [
        "The address is not a mail address."
    ]
    assert (again.json["added"], again.json["known"]) == (0, 2)
    shown = tenant.get("/api/suppressions").json["suppressions"]
    assert [(row["address"], row["reason"]) for row in shown] == [
        ("ada@example.com", "asked"),
        ("bob@example.com", "On an imported list."),
    ]


def test_more_than_a_block_is_taken_and_shown_by_pages(tenant):
    rows = "".join(f"a{n:04}@example.com\n" for n in range(5000))

    done = tenant.ask(
        "POST", "/api/suppressions", data=f"email\n{rows}", content_type="text/csv"
    )

    assert done.json["added"] == 5000
    page = tenant.get("/api/suppressions?limit=4999").json
    assert (len(page["suppressions"]), page["next"]) == (4999, "a4998@example.com")
    assert addresses(tenant, f"?after={page['next']}") == ["a4999@example.com"]


def test_an_address_is_taken_off_however_it_is_spelled(tenant):
    """Numbers as people write them; each channel has its own list."""
    query = "/api/suppressions?channel=sms"
    body = '[{"phone":"+1 (415) 555-0123"},{"phone":"004930 123456"}]'
    tenant.ask("POST", query, data=body, content_type="application/json")
    assert addresses(tenant, "?channel=sms") == ["+14155550123", "+4930123456"]
    assert addresses(tenant) == []

    gone = tenant.ask("DELETE", f"{query}&address=%2B1%20415%20555%200123")
    again = tenant.ask("DELETE", f"{query}&address=%2B14155550123")

    assert (gone.status_code, again.status_code) == (204, 404)
    assert addresses(tenant, "?channel=sms") == ["+4930123456"]


def test_a_list_is_its_tenants_own(tenant, make_caller):
    tenant.ask("POST", "/api/suppressions", data=CSV, content_type="text/csv")
    stranger = make_caller()

    taken = stranger.ask("DELETE", "/api/suppressions?address=ada@example.com")

    assert taken.status_code == 404
    assert addresses(stranger) == []
    assert len(addresses(tenant)) == 2


@pytest.mark.parametrize(
    ("query", "kind", "code"),
    [
        ("?channel=fax", "text/csv", 400),
        ("", "text/plain", 415),
    ],
)
def test_what_cannot_be_read_is_refused(tenant, query, kind, code):
    answer = tenant.ask(
        "POST", f"/api/suppressions{query}", data=CSV, content_type=kind
    )

    assert answer.status_code == code
