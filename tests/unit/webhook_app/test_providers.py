"""Each provider's reports are proven by its own scheme, and stored by their own id."""

import time

import orjson
import pytest
from pydantic import SecretStr

from models.errors import NeighbourUnavailableError
from tests.fakes.reports import (
    CERTIFICATE_URL,
    OTHER_KEY,
    OTHER_SECRET,
    RESEND_EVENT,
    SECRET,
    SES_EVENT,
    SUBSCRIBE_URL,
    TELNYX_EVENT,
    FakeAws,
    standard_headers,
    telnyx_headers,
)
from tests.unit.webhook_app.conftest import Provider
from webhook_app import create_app


def telnyx(provider, event=TELNYX_EVENT, **options):
    raw = orjson.dumps(event)
    return provider.post("telnyx", raw, headers=telnyx_headers(raw, **options))


def test_reports_are_stored_as_their_providers_name_them(provider, stored, aws):
    provider.signed("resend")
    telnyx(provider)
    provider.post("ses", aws.message())

    jobs = [job for job, _ in stored.jobs]
    assert [(job.provider, job.event, job.event_id) for job in jobs] == [
        ("resend", "email.delivered", "r1"),
        ("telnyx", "message.finalized", "t1"),
        ("ses", "Rendering Failure", "n1"),
    ]
    assert [job.body for job in jobs] == [RESEND_EVENT, TELNYX_EVENT, SES_EVENT]
    assert all(job.config_id is None for job in jobs)
    assert all(abs(job.received_at - time.time()) < 60 for job in jobs)


def test_the_same_report_again_has_the_same_id_for_the_broker(provider, stored, aws):
    """And another account's, or another provider's, has another."""
    for _ in range(2):
        provider.signed("resend", report_id="n1")
        provider.post("ses", aws.message())

    ids = [dedup_id for _, dedup_id in stored.jobs]
    assert (ids[0], ids[1]) == (ids[2], ids[3])
    assert ids[0] != ids[1]


@pytest.mark.parametrize("path", ["resend", "telnyx", "ses", "custom/m1"])
def test_without_a_secret_every_report_is_refused(settings, stored, aws, path):
    nothing = dict.fromkeys(
        ("resend_webhook_secret", "ses_webhook_secret", "custom_webhook_secret"),
        SecretStr(""),
    )
    bare = settings.model_copy(update=nothing | {"telnyx_public_key": ""})
    raw = orjson.dumps(aws.message())
    headers = standard_headers(raw) | telnyx_headers(raw)

    app = create_app(bare, stored, fetch=aws)
    refused = Provider(app.test_client()).post(path, raw, headers=headers)

    assert refused.status_code == 401
    assert stored.jobs == []
    assert aws.fetched == []


def test_while_a_secret_is_replaced_both_are_believed(settings, stored):
    both = settings.model_copy(
        update={"resend_webhook_secret": SecretStr(f"{OTHER_SECRET},{SECRET}")}
    )

    taken = Provider(create_app(both, stored).test_client()).signed("resend")

    assert taken.status_code == 200


@pytest.mark.parametrize("header", ["svix-id", "svix-timestamp", "svix-signature"])
@pytest.mark.parametrize("value", [None, "", "v1", "²", "v1,é", "," * 3000])
def test_a_header_that_is_missing_or_malformed_proves_nothing(
    provider, stored, header, value
):
    raw = orjson.dumps(RESEND_EVENT)
    headers = standard_headers(raw)
    headers.pop(header)
    if value is not None:
        headers[header] = value

    assert provider.post("resend", raw, headers=headers).status_code == 401
    assert stored.jobs == []


@pytest.mark.parametrize("off_s", [-310, 310])
def test_a_report_of_another_time_proves_nothing(provider, stored, off_s):
    late = provider.signed("resend", at=time.time() + off_s)
    by_telnyx = telnyx(provider, at=time.time() + off_s)

    assert (late.status_code, by_telnyx.status_code) == (401, 401)
    assert stored.jobs == []


@pytest.mark.parametrize(
    "event", [[], {"data": []}, {"data": {"event_type": "x"}}, {"data": {"id": "x"}}]
)
def test_a_genuine_report_that_makes_no_sense_is_malformed(provider, stored, event):
    assert telnyx(provider, event).status_code == 400
    assert stored.jobs == []


def test_a_subscription_is_confirmed_and_not_stored(provider, stored, aws):
    taken = provider.post("ses", aws.confirmation())

    assert taken.status_code == 200
    assert aws.fetched == [CERTIFICATE_URL, SUBSCRIBE_URL]
    assert stored.jobs == []


def test_a_confirmation_that_aws_did_not_hear_is_asked_for_again(provider, aws):
    provider.post("ses", aws.message())
    aws.is_away = True

    assert provider.post("ses", aws.confirmation()).status_code == 503


def test_what_ses_says_to_a_new_topic_is_taken_and_not_stored(provider, stored, aws):
    said = "Successfully validated SNS topic for Amazon SES event publishing."

    assert provider.post("ses", aws.message(said)).status_code == 200
    assert provider.post("ses", aws.message("{")).status_code == 400
    assert stored.jobs == []


def test_a_stranger_makes_nobody_call_a_server(provider, stored, aws):
    """Neither for the certificate nor for the subscription."""
    elsewhere = "https://sns.eu-central-1.amazonaws.com.evil.example/x.pem"
    stranger = FakeAws()

    by_host = provider.post("ses", stranger.message(SigningCertURL=elsewhere))
    by_topic = provider.post("ses", stranger.confirmation(TopicArn="arn:aws:sns:x"))
    fetched = list(aws.fetched)
    by_signature = provider.post("ses", stranger.confirmation())
    provider.post("ses", aws.confirmation(SubscribeURL="https://evil.example/?x"))

    assert {a.status_code for a in (by_host, by_topic, by_signature)} == {401}
    assert fetched == []
    assert aws.fetched == [CERTIFICATE_URL]
    assert stored.jobs == []


def test_a_tenants_own_reports_are_proven_by_its_own_secret(
    provider, stored, tenants, aws
):
    config_id = tenants.add("resend", OTHER_SECRET)

    own = provider.signed(f"resend/{config_id}", key=OTHER_KEY)
    by_platform = provider.signed(f"resend/{config_id}")

    assert (own.status_code, by_platform.status_code) == (200, 401)
    assert [job.config_id for job, _ in stored.jobs] == [config_id]


def test_a_tenants_topic_is_its_own(provider, stored, tenants, aws):
    topic = "arn:aws:sns:eu-west-1:999999999999:mine"
    config_id = tenants.add("ses", topic)

    own = provider.post(f"ses/{config_id}", aws.message(TopicArn=topic))
    others = provider.post(f"ses/{config_id}", aws.message())

    assert (own.status_code, others.status_code) == (200, 401)
    assert stored.jobs[0][0].config_id == config_id


def test_an_unknown_account_is_not_found(provider, stored, tenants):
    """Nor one of another provider; a custom endpoint's name is the platform's."""
    of_telnyx = tenants.add("telnyx", "x")
    unknown = "7d3f7c0e-0000-4000-8000-000000000000"

    paths = [unknown, "no-uuid", of_telnyx, f"{unknown}/more", ""]
    answers = [provider.signed(f"resend/{path}") for path in paths]
    custom = provider.signed(f"custom/{unknown}")

    assert {answer.status_code for answer in answers} == {404}
    assert custom.status_code == 200
    assert [job.config_id for job, _ in stored.jobs] == [None]


def test_secrets_taken_back_prove_nothing(provider, tenants):
    config_id = tenants.add("resend")

    assert provider.signed(f"resend/{config_id}").status_code == 401


def test_while_nats_is_away_known_secrets_are_used_on(provider, tenants, monkeypatch):
    """About the others nobody can tell, so that their providers come again."""
    known, other = (tenants.add("resend", SECRET) for _ in range(2))
    provider.signed(f"resend/{known}")
    monkeypatch.setattr("webhook_app.accounts.FRESH_S", 0.0)
    tenants.failure = NeighbourUnavailableError("away")

    still, nobody = (provider.signed(f"resend/{one}") for one in (known, other))

    assert (still.status_code, nobody.status_code) == (200, 503)
    assert tenants.asked == 2


def test_a_secret_put_under_another_config_is_not_used(provider, tenants):
    """Whoever can write to the bucket still cannot give one config's to another."""
    mine, victim = (tenants.add("resend", SECRET) for _ in range(2))
    tenants.values[victim] = tenants.values[mine]

    assert provider.signed(f"resend/{victim}").status_code == 503
