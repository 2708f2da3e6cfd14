"""Notifications of Amazon SNS, through which SES reports: verified and confirmed.

A signature proves that AWS sent something to somebody; only the pinned topic proves
that it is ours. Certificates come from AWS' own hosts by https, which is what we trust
them for: their chain is not checked besides.

Sources: AWS, *Verifying the signatures of Amazon SNS messages*, and
`aws-js-sns-message-validator`.
"""

import base64
import binascii
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509 import Certificate, load_pem_x509_certificate

from models.errors import InvalidInputError, NeighbourUnavailableError
from providers.guard import Guard
from providers.http import HttpAnswer, HttpSession
from providers.signatures import TOLERANCE_S, SignatureError

#: SNS tries for an hour at most; an hour more is for clocks and queues on the way.
MAX_AGE_S = 7200
#: So many certificates are kept; AWS has one for each region at a time.
MAX_CERTIFICATES = 100
#: So many are fetched at once; threads that wait for AWS take no other report.
MAX_FETCHES = 2
#: A certificate or an answer to a confirmation is far smaller.
MAX_FETCHED_BYTES = 64 * 1024

NOTIFICATION = "Notification"
CONFIRMATION = "SubscriptionConfirmation"
UNSUBSCRIBED = "UnsubscribeConfirmation"

_HOST = r"https://sns\.[a-zA-Z0-9-]{3,}\.amazonaws\.com(?:\.cn)?/"
_CERTIFICATE_URL = re.compile(_HOST + r"[A-Za-z0-9._/-]+\.pem")
_SUBSCRIBE_URL = re.compile(_HOST + r"\?[\x21-\x7e]+")

#: What is signed, in this order, by the kind of message.
_OF_A_NOTIFICATION = (
    *("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
)
_OF_A_CONFIRMATION = (
    *("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
)
_SIGNED = {
    NOTIFICATION: _OF_A_NOTIFICATION,
    CONFIRMATION: _OF_A_CONFIRMATION,
    UNSUBSCRIBED: _OF_A_CONFIRMATION,
}
_HASHES = {"1": SHA1, "2": SHA256}

#: Returns what is at a URL of AWS; raises `NeighbourUnavailableError`.
Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Envelope:
    """A genuine message of one of our topics.

    Attributes:
        kind: `NOTIFICATION`, `CONFIRMATION` or `UNSUBSCRIBED`.
        message_id: The same when it is sent again.
        topic: The topic's ARN.
        message: What was published.
        subscribe_url: Where a subscription is confirmed; `""` for a notification.
    """

    kind: str
    message_id: str
    topic: str
    message: str
    subscribe_url: str


class Sns:
    """Verifies messages and confirms subscriptions; any number of threads.

    Args:
        fetch: Gets certificates and confirms; by default from AWS itself.
    """

    def __init__(self, fetch: Fetch | None = None) -> None:
        self._fetch = fetch or fetch_from_aws
        self._certificates: OrderedDict[str, Certificate] = OrderedDict()
        self._lock = threading.Lock()
        self._fetches = threading.BoundedSemaphore(MAX_FETCHES)

    def verify(
        self,
        raw: bytes,
        *,
        topics: Collection[str],
        now_s: float,
        may_fetch: bool = True,
    ) -> Envelope:
        """Return what a genuine message of one of these topics holds.

        Args:
            raw: The body of the request.
            topics: The ARNs that we take messages of.
            now_s: Our clock, in seconds since 1970.
            may_fetch: Whether a certificate may be fetched that is not known yet.

        Raises:
            InvalidInputError: It is no message of SNS.
            SignatureError: It is of another topic, too old, or not signed by AWS.
            NeighbourUnavailableError: The certificate cannot be had now.
        """
        fields = _fields(raw)
        if not topics:
            raise SignatureError("No topic is set, so no report is believed.")
        if fields["TopicArn"] not in topics:
            raise SignatureError("The topic is not one of ours.")
        _check_time(fields["Timestamp"], now_s)
        certificate = self._certificate(fields["SigningCertURL"], may_fetch=may_fetch)
        _check_certificate(certificate, now_s)
        _check_signature(certificate, fields)
        return Envelope(
            kind=fields["Type"],
            message_id=fields["MessageId"],
            topic=fields["TopicArn"],
            message=fields["Message"],
            subscribe_url=fields.get("SubscribeURL", ""),
        )

    def confirm(self, envelope: Envelope) -> None:
        """Confirm the subscription that a verified message asks us to confirm.

        Raises:
            SignatureError: Its URL is not AWS' own.
            NeighbourUnavailableError: AWS did not answer; SNS will ask again.
        """
        if not _SUBSCRIBE_URL.fullmatch(envelope.subscribe_url):
            raise SignatureError("The subscription's URL is not AWS' own.")
        self._fetched(envelope.subscribe_url)

    def _certificate(self, url: str, *, may_fetch: bool) -> Certificate:
        if not _CERTIFICATE_URL.fullmatch(url):
            raise SignatureError("The certificate's URL is not AWS' own.")
        with self._lock:
            known = self._certificates.get(url)
            if known is not None:
                self._certificates.move_to_end(url)
        if known is not None:
            return known
        if not may_fetch:
            raise SignatureError("The certificate is not known.")
        return self._keep(url, _parsed(self._fetched(url)))

    def _keep(self, url: str, certificate: Certificate) -> Certificate:
        with self._lock:
            self._certificates[url] = certificate
            while len(self._certificates) > MAX_CERTIFICATES:
                self._certificates.popitem(last=False)
        return certificate

    def _fetched(self, url: str) -> bytes:
        if not self._fetches.acquire(blocking=False):
            raise NeighbourUnavailableError("AWS is being asked already.")
        try:
            return self._fetch(url)
        finally:
            self._fetches.release()


def fetch_from_aws(url: str) -> bytes:
    """Return what AWS has at the URL; redirects are not followed.

    Raises:
        NeighbourUnavailableError: There is no answer of 200, or it is too large.
    """
    session = HttpSession(Guard(frozenset({443}), ()))
    try:
        answer = session.send("GET", url, b"", {}, deadline_s=5.0)
    finally:
        session.close()
    if not isinstance(answer, HttpAnswer) or answer.status != 200:
        raise NeighbourUnavailableError("AWS did not answer.")
    if len(answer.body) > MAX_FETCHED_BYTES:
        raise NeighbourUnavailableError("AWS answered too much.")
    return answer.body


def _fields(raw: bytes) -> dict[str, str]:
    """Return the message's texts, at least those that its kind must have."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError("The report is not JSON.") from error
    given: Mapping[str, object] = body if isinstance(body, dict) else {}
    fields = {name: text for name, text in given.items() if isinstance(text, str)}
    signed = _SIGNED.get(fields.get("Type", ""))
    if signed is None:
        raise InvalidInputError("The report is no message of SNS.", field="Type")
    always = ("Signature", "SignatureVersion", "SigningCertURL")
    for name in (*signed, *always):
        if name not in fields and name != "Subject":
            raise InvalidInputError(f"The report has no {name!r}.", field=name)
    return fields


def _check_time(text: str, now_s: float) -> None:
    try:
        sent_at = datetime.fromisoformat(text).astimezone(UTC).timestamp()
    except (ValueError, OverflowError) as error:
        raise SignatureError("The report's time is not a time.") from error
    if not now_s - MAX_AGE_S <= sent_at <= now_s + TOLERANCE_S:
        raise SignatureError("The report's time is too far from ours.")


def _parsed(pem: bytes) -> Certificate:
    try:
        return load_pem_x509_certificate(pem)
    except ValueError as error:
        raise SignatureError("There is no certificate at the URL.") from error


def _check_certificate(certificate: Certificate, now_s: float) -> None:
    now = datetime.fromtimestamp(now_s, UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begins <= now <= ends:
        raise SignatureError("The certificate is not valid now.")


def _check_signature(certificate: Certificate, fields: Mapping[str, str]) -> None:
    algorithm, key = _HASHES.get(fields["SignatureVersion"]), _key(certificate)
    if algorithm is None or key is None:
        raise SignatureError("The kind of signature is not known.")
    names = [name for name in _SIGNED[fields["Type"]] if name in fields]
    signed = "".join(f"{name}\n{fields[name]}\n" for name in names).encode()
    try:
        signature = base64.b64decode(fields["Signature"], validate=True)
        # SNS' version 1 is SHA-1; which one is used is the topic's owner's choice.
        key.verify(signature, signed, PKCS1v15(), algorithm())
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise SignatureError("No signature is right.") from error


def _key(certificate: Certificate) -> RSAPublicKey | None:
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return None
    return key if isinstance(key, RSAPublicKey) else None
