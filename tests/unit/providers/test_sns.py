"""SNS: what AWS signed for our own topic is believed, and nothing else."""

import time
from collections.abc import Iterator

import orjson
import pytest

from models.errors import InvalidInputError, NeighbourUnavailableError
from providers import sns
from providers.signatures import SignatureError
from providers.sns import MAX_AGE_S, Sns
from tests.fakes.reports import CERTIFICATE_URL, SUBSCRIBE_URL, TOPIC, FakeAws


@pytest.fixture(scope="module")
def signer() -> FakeAws:
    return FakeAws()


@pytest.fixture
def aws(signer) -> Iterator[FakeAws]:
    signer.fetched.clear()
    yield signer
    signer.is_away = False


def verify(aws, body, *, topics=(TOPIC,), now_s=None, door=None, **options):
    now_s = time.time() if now_s is None else now_s
    door = door or Sns(aws)
    return door.verify(orjson.dumps(body), topics=topics, now_s=now_s, **options)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", ["Über", None])
def test_both_versions_are_genuine_with_and_without_a_subject(aws, version, subject):
    found = verify(aws, aws.message("Größe", version=version, Subject=subject))

    assert (found.kind, found.message) == ("Notification", "Größe")
    assert (found.message_id, found.topic) == ("n1", TOPIC)


def test_a_certificate_is_fetched_once(aws):
    door = Sns(aws)

    for _ in range(3):
        verify(aws, aws.message(), door=door)

    assert aws.fetched == [CERTIFICATE_URL]


def test_only_so_many_certificates_are_kept(aws, monkeypatch):
    monkeypatch.setattr(sns, "MAX_CERTIFICATES", 2)
    door = Sns(aws)

    for number in range(4):
        url = CERTIFICATE_URL.replace("1.pem", f"{number}.pem")
        verify(aws, aws.message(SigningCertURL=url), door=door)

    assert len(door._certificates) == 2


@pytest.mark.parametrize(
    "url",
    [
        CERTIFICATE_URL.replace("https", "http"),
        CERTIFICATE_URL.replace("sns.", "sqs."),
        CERTIFICATE_URL.replace("sns.", "user@sns."),
        CERTIFICATE_URL.replace("amazonaws.com", "amazonaws.com.evil.example"),
        CERTIFICATE_URL.replace("amazonaws.com", "amazonaws.com:444"),
        CERTIFICATE_URL.replace("amazonaws.com", "amazonaws.com@evil.example"),
        CERTIFICATE_URL.replace("eu-central-1", "e"),
        CERTIFICATE_URL.replace("eu-central-1", "a.evil"),
        CERTIFICATE_URL.replace("https://", "https://evil.example/?"),
        CERTIFICATE_URL.replace(".pem", ".pem?x"),
        CERTIFICATE_URL.replace(".pem", ".crt"),
        CERTIFICATE_URL + "\n",
        "\\\\sns.eu-central-1.amazonaws.com\\x.pem",
        "",
    ],
)
def test_a_certificate_is_fetched_from_aws_alone(aws, url):
    with pytest.raises(SignatureError):
        verify(aws, aws.message(SigningCertURL=url))

    assert aws.fetched == []


def test_china_has_hosts_of_its_own(aws):
    url = "https://sns.cn-north-1.amazonaws.com.cn/x.pem"

    assert verify(aws, aws.message(SigningCertURL=url))


@pytest.mark.parametrize(
    "changed",
    [
        {"Message": "other"},
        {"Subject": "other"},
        {"MessageId": "other"},
        {"Signature": "AAAA"},
        {"Signature": "%"},
        {"SignatureVersion": "3"},
        {"SignatureVersion": "1"},
        {"Timestamp": "hello"},
        {"Timestamp": "0001-01-01T00:00:00+14:00"},
    ],
)
def test_whatever_was_changed_afterwards_proves_nothing(aws, changed):
    with pytest.raises(SignatureError):
        verify(aws, aws.message() | changed)


@pytest.mark.parametrize("name", ["Message", "MessageId", "Signature", "TopicArn"])
@pytest.mark.parametrize("value", [None, 1, []])
def test_a_message_that_lacks_something_is_malformed(aws, name, value):
    with pytest.raises(InvalidInputError):
        verify(aws, aws.message() | {name: value})


@pytest.mark.parametrize("body", [[], 1, {}, {"Type": "Else"}])
def test_what_is_no_message_is_malformed(aws, body):
    with pytest.raises(InvalidInputError):
        verify(aws, body)


@pytest.mark.parametrize("topics", [(), ("arn:aws:sns:eu-central-1:1:other",)])
def test_another_topic_is_not_ours(aws, topics):
    """Whoever has an account at AWS can have it sign."""
    with pytest.raises(SignatureError):
        verify(aws, aws.message(), topics=topics)

    assert aws.fetched == []


@pytest.mark.parametrize("off_s", [MAX_AGE_S + 10, -310])
def test_a_message_of_another_time_proves_nothing(aws, off_s):
    body = aws.message()

    with pytest.raises(SignatureError, match="time"):
        verify(aws, body, now_s=time.time() + off_s)


def test_a_certificate_that_ended_proves_nothing():
    ended = FakeAws(days=-1)

    with pytest.raises(SignatureError, match="certificate"):
        verify(ended, ended.message())


def test_what_is_no_certificate_proves_nothing(aws):
    with pytest.raises(SignatureError):
        verify(aws, aws.message(), door=Sns(lambda url: b"<html>"))


def test_while_aws_is_away_nobody_can_tell(aws):
    aws.is_away = True

    with pytest.raises(NeighbourUnavailableError):
        verify(aws, aws.message())


def test_nothing_is_fetched_where_it_may_not_be(aws):
    with pytest.raises(SignatureError):
        verify(aws, aws.message(), may_fetch=False)

    assert aws.fetched == []


def test_only_so_many_wait_for_aws_at_once(aws):
    """The others take reports meanwhile, and tell SNS to come again."""
    refused = []

    def slow(url):
        if len(refused) < sns.MAX_FETCHES - 1:
            refused.append(None)
            verify(aws, aws.message(), door=door)
        try:
            verify(aws, aws.message(), door=door)
        except NeighbourUnavailableError as error:
            refused.append(error)
        return aws.pem

    door = Sns(slow)
    verify(aws, aws.message(), door=door)

    assert isinstance(refused[-1], NeighbourUnavailableError)


def test_a_subscription_is_confirmed_at_aws_alone(aws):
    door = Sns(aws)
    asked = verify(aws, aws.confirmation(), door=door)
    elsewhere = aws.confirmation(SubscribeURL="https://evil.example/?Action=x")
    forged = verify(aws, elsewhere, door=door)

    door.confirm(asked)
    with pytest.raises(SignatureError):
        door.confirm(forged)

    assert aws.fetched == [CERTIFICATE_URL, SUBSCRIBE_URL]


def test_by_default_aws_itself_is_asked_and_nobody_inside():
    """The guard lets nobody be called who is not on the public internet."""
    with pytest.raises(NeighbourUnavailableError):
        sns.fetch_from_aws("https://127.0.0.1/x.pem")
