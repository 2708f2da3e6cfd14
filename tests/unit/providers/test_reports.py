"""What each provider's reports mean; their bodies are in tests/payloads."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.jobs import RecordWebhook
from models.status import RecipientStatus
from providers.reports import keys_of, report_of

PAYLOADS = Path(__file__).parent.parent.parent / "payloads"
BATCH = UUID("0d6b1d2e-7f0a-4f3c-9a52-0c2f6f1f4a11")
AT = datetime(2026, 11, 20, 10, 0, 5, 123_000, UTC)
RECEIVED = AT + timedelta(seconds=2)
CUSTOM = {"type": "bounced", "batch": str(BATCH), "seq": 7, "id": "m",
          "permanent": True, "timestamp": AT.isoformat(),
          "error": "No such\nmailbox."}  # fmt: skip


def recorded(name):
    return orjson.loads((PAYLOADS / f"{name}.json").read_bytes())


def read(provider, body, **fields):
    given = {"event_id": "e", "received_at": RECEIVED.timestamp(), **fields}
    return report_of(RecordWebhook(provider, "", body, **given))


@pytest.mark.parametrize(
    ("provider", "body", "status", "message_id", "error"),
    [
        (
            "resend", recorded("resend/bounced"), "bounced",
            "56761188-7520-42d8-8898-ff6fc54ce618",
            "NoEmail: The mailbox does not exist.",
        ),
        (
            "ses", recorded("ses/bounce"), "bounced",
            "0100019-message", "NoEmail: smtp; 550 5.1.1 user unknown",
        ),
        (
            "telnyx", recorded("telnyx/finalized"), "delivered",
            "40385f64-5717-4562-b3fc-2c963f66afa6", "",
        ),
        ("custom", CUSTOM, "bounced", "m", "No such mailbox."),
    ],
)  # fmt: skip
def test_a_report_names_all_that_counts(provider, body, status, message_id, error):
    """Whose it is, what became of it, when, and why."""
    found = read(provider, body)

    assert (found.status, found.batch_id, found.seq) == (status, BATCH, 7)
    assert (found.message_id, found.error) == (message_id, error)
    assert found.occurred_at == AT
    assert found.is_hard == (status == "bounced")
    assert found.is_of_recipient
    assert found.copies == ()


@pytest.mark.parametrize(
    ("kind", "part", "status", "is_hard"),
    [
        ("sent", {}, "sent", False),
        ("delivered", {}, "delivered", False),
        ("opened", {}, "opened", False),
        ("clicked", {"click": {"link": "https://a.example"}}, "clicked", False),
        ("complained", {}, "complained", False),
        ("failed", {"failed": {"reason": "reached_daily_quota"}}, "bounced", False),
        ("suppressed", {"suppressed": {"message": "On a list."}}, "bounced", True),
        ("bounced", {"bounce": {"type": "Transient", "subType": "MailboxFull"}},
         "bounced", False),
        ("bounced", {"bounce": {"type": "Transient", "subType": "General"}},
         None, None),
        ("bounced", {"bounce": {"type": "Transient", "subType": "General",
                                "diagnosticCode": ["smtp; 452 full"]}},
         "bounced", False),
        ("delivery_delayed", {}, None, None),
        ("received", {}, None, None),
    ],
)  # fmt: skip
def test_events_of_resend(kind, part, status, is_hard):
    """What it took and did not deliver is bounced; others are not about a message."""
    found = read("resend", {"type": f"email.{kind}", "data": part})

    assert (found and found.status) == status
    assert found is None or found.is_hard == is_hard


@pytest.mark.parametrize(
    ("kind", "part", "status", "is_hard"),
    [
        ("Send", {}, "sent", False),
        ("Delivery", {}, "delivered", False),
        ("Open", {}, "opened", False),
        ("Click", {}, "clicked", False),
        ("Reject", {"reject": {"reason": "Bad content"}}, "bounced", False),
        ("Rendering Failure", {"failure": {"errorMessage": "x"}}, "bounced", False),
        ("Complaint", {}, "complained", False),
        ("Complaint", {"complaint": {"complaintFeedbackType": "not-spam"}}, None, None),
        ("Complaint", {"complaint": {"complaintSubType": "OnAccountSuppressionList"}},
         "bounced", True),
        ("Bounce", {"bounce": {"bounceType": "Undetermined"}}, "bounced", False),
        ("Bounce", {"bounce": {"bounceType": "Transient", "bounceSubType": "General"}},
         None, None),
        ("Bounce", {"bounce": {"bounceType": "Transient", "bounceSubType": "General",
                               "bouncedRecipients": [{"diagnosticCode": "full"}]}},
         "bounced", False),
        ("DeliveryDelay", {}, None, None),
        ("Subscription", {}, None, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["eventType", "notificationType"])
def test_events_of_ses(*, kind, part, status, is_hard, name):
    """An answering machine is no bounce, and *not spam* no complaint."""
    found = read("ses", {name: kind, **part})

    assert (found and found.status) == status
    assert found is None or found.is_hard == is_hard


@pytest.mark.parametrize(
    ("reported", "is_of_recipient", "copies"),
    [
        (["User7@example.com"], True, ()),
        (["boss@example.com"], False, ("boss@example.com",)),
        (["boss@example.com", "user7@example.com"], True, ("boss@example.com",)),
    ],
)
def test_a_mail_with_copies_has_reports_of_each(reported, is_of_recipient, copies):
    """SES names whom it means."""
    body = recorded("ses/bounce")
    body["mail"]["destination"] += ["boss@example.com"]
    body["bounce"]["bouncedRecipients"] = [{"emailAddress": one} for one in reported]

    found = read("ses", body)

    assert (found.is_of_recipient, found.copies) == (is_of_recipient, copies)


def test_a_delivery_to_a_copy_alone_is_not_the_recipients():
    """Deliveries name addresses, not objects."""
    mail = recorded("ses/bounce")["mail"]
    mail["destination"] += ["boss@example.com"]
    body = {"eventType": "Delivery", "mail": mail}

    for who, is_ours in (("boss@example.com", False), ("user7@example.com", True)):
        found = read("ses", {**body, "delivery": {"recipients": [who]}})
        assert found.is_of_recipient == is_ours


@pytest.mark.parametrize(
    ("state", "code", "status", "is_hard"),
    [
        ("sent", "", "sent", False),
        ("delivery_unconfirmed", "", "sent", False),
        ("delivered", "", "delivered", False),
        ("delivery_failed", "40008", "bounced", False),
        ("delivery_failed", "40300", "bounced", True),
        ("sending_failed", "40001", "bounced", True),
        ("expired", "", "bounced", False),
        ("queued", "", None, None),
    ],
)
def test_states_of_telnyx(state, code, status, is_hard):
    """A number that takes no messages is suppressed, as after a refusal."""
    body = recorded("telnyx/finalized")
    body["data"]["payload"]["to"][0]["status"] = state
    body["data"]["payload"]["errors"] = [{"code": code, "title": "T"}]

    found = read("telnyx", body)

    assert (found and found.status) == status
    assert found is None or found.is_hard == is_hard


def test_telnyx_names_us_in_the_address_that_it_reported_to():
    """Where the message does not carry it."""
    body = recorded("telnyx/finalized")
    url = body["data"]["payload"].pop("webhook_url")
    for nowhere in ("https://in.example/", "https://[", None):
        body["meta"]["delivered_to"] = nowhere
        assert read("telnyx", body).batch_id is None
    body["meta"]["delivered_to"] = url

    assert read("telnyx", body).batch_id == BATCH
    body["data"]["event_type"] = "message.received"
    assert read("telnyx", body) is None


@pytest.mark.parametrize(
    ("moment", "believed"),
    [
        (AT, AT),
        (AT - timedelta(days=31), RECEIVED),
        (AT + timedelta(days=1), RECEIVED),
        ("yesterday", RECEIVED),
        (AT.replace(tzinfo=None), AT),
    ],
)
def test_a_time_that_cannot_be_is_the_time_we_heard_of_it(moment, believed):
    """Else one report could open a partition of another century."""
    stamp = moment if isinstance(moment, str) else moment.isoformat()

    assert read("custom", {**CUSTOM, "timestamp": stamp}).occurred_at == believed


@pytest.mark.parametrize("seq", ["x", -1, 2**31, True, None, 1.5])
def test_a_number_that_is_none_of_ours_names_nobody(seq):
    """It may be looked up by its message."""
    assert read("custom", {**CUSTOM, "seq": seq}).batch_id is None


def test_one_id_names_one_report_of_one_account():
    """Endpoints may choose ids badly; without an id nothing is recognised."""
    jobs = [
        RecordWebhook("custom", "", {**CUSTOM, "seq": seq}, event_id, config_id)
        for seq, event_id, config_id in (
            (1, "e", None), (1, "e", None), (2, "e", None), (1, "f", None),
            (1, "e", "c"), (1, "", None),
        )
    ]  # fmt: skip

    names = keys_of((job, report_of(job)) for job in jobs)

    assert names[0] == names[1]
    assert len(set(names)) == 5
    assert names[-1] == ""


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(
        st.sampled_from(
            ["type", "data", "tags", "batch", "seq", "bounce", "mail", "to", "payload",
             "eventType", "destination", "commonHeaders", "event_type", "errors"]
        ),
        inner | st.sampled_from(["Bounce", "email.bounced", "sent", "message.sent"]),
    ),
)  # fmt: skip


@given(
    provider=st.sampled_from(["resend", "ses", "telnyx", "custom", "other"]),
    body=st.dictionaries(st.sampled_from(["type", "eventType", "data", "mail"]), json),
)
def test_no_body_breaks_us(provider, body):
    """A signature proves who sent it, not that it makes sense."""
    found = read(provider, body)

    assert found is None or isinstance(found.status, RecipientStatus)
