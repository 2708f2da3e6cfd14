"""Providers that report: genuine requests, signed as each of them signs."""

import base64
import hashlib
import hmac
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from nacl.signing import SigningKey

from models.errors import NeighbourUnavailableError

KEY = b"0123456789012345678901234567890x"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OTHER_KEY = b"another key of thirty-two bytes."
OTHER_SECRET = "whsec_" + base64.b64encode(OTHER_KEY).decode()
TELNYX = SigningKey(b"t" * 32)
TELNYX_PUBLIC = base64.b64encode(bytes(TELNYX.verify_key)).decode()
TOPIC = "arn:aws:sns:eu-central-1:123456789012:ses-events"
CERTIFICATE_URL = "https://sns.eu-central-1.amazonaws.com/SimpleNotification-1.pem"
SUBSCRIBE_URL = "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription"

RESEND_EVENT = {"type": "email.delivered", "data": {"email_id": "e1"}}
TELNYX_EVENT = {"data": {"event_type": "message.finalized", "id": "t1"}}
SES_EVENT = {"eventType": "Rendering Failure", "mail": {"messageId": "m1"}}


def standard_headers(
    body: bytes,
    report_id: str = "r1",
    *,
    key: bytes = KEY,
    at: float | None = None,
    prefix: str = "svix",
) -> dict[str, str]:
    """Return the headers of Standard Webhooks."""
    now = str(int(time.time() if at is None else at))
    signed = f"{report_id}.{now}.".encode() + body
    right = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {
        f"{prefix}-id": report_id,
        f"{prefix}-timestamp": now,
        f"{prefix}-signature": f"v1,{right}",
    }


def telnyx_headers(body: bytes, *, at: float | None = None) -> dict[str, str]:
    """Return the headers of Telnyx."""
    now = str(int(time.time() if at is None else at))
    signature = TELNYX.sign(f"{now}|".encode() + body).signature
    return {
        "telnyx-timestamp": now,
        "telnyx-signature-ed25519": base64.b64encode(signature).decode(),
    }


class FakeAws:
    """Signs as SNS does, by a certificate made now; it is also what is at AWS' URLs.

    Attributes:
        fetched: The URLs that were asked for.
        is_away: Nobody answers.
    """

    def __init__(self, *, days: int = 1) -> None:
        self.key = generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(
            issuer_name=name,
            subject_name=name,
            public_key=self.key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(days=2),
            not_valid_after=now + timedelta(days=days),
        ).sign(self.key, SHA256())
        self.pem = made.public_bytes(Encoding.PEM)
        self.fetched: list[str] = []
        self.is_away = False

    def __call__(self, url: str) -> bytes:
        """Answer a GET."""
        self.fetched.append(url)
        if self.is_away:
            raise NeighbourUnavailableError("AWS did not answer.")
        return self.pem

    def message(
        self,
        event: Any = SES_EVENT,
        *,
        version: str = "2",
        at: float = 0.0,
        **fields: Any,
    ) -> dict[str, Any]:
        """Return a signed notification; fields override before it is signed."""
        message = event if isinstance(event, str) else orjson.dumps(event).decode()
        sent_at = datetime.fromtimestamp(at or time.time(), UTC)
        body = {
            "Type": "Notification",
            "MessageId": "n1",
            "TopicArn": TOPIC,
            "Subject": "Amazon SES Email Event Notification",
            "Message": message,
            "Timestamp": sent_at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "SignatureVersion": version,
            "SigningCertURL": CERTIFICATE_URL,
        } | fields
        return body | {"Signature": self.signature(body)}

    def confirmation(self, **fields: Any) -> dict[str, Any]:
        """Return a signed request to confirm a subscription."""
        asked = {"Type": "SubscriptionConfirmation", "Token": "t"}
        return self.message(
            "Confirm.", **(asked | {"SubscribeURL": SUBSCRIBE_URL} | fields)
        )

    def signature(self, body: dict[str, Any]) -> str:
        """Return what SNS would sign the body with."""
        first, last = ["Message", "MessageId"], ["TopicArn", "Type"]
        names = ["SubscribeURL", "Timestamp", "Token"]
        if body["Type"] == "Notification":
            names = ["Subject", "Timestamp"]
        names = [n for n in first + names + last if isinstance(body.get(n), str)]
        text = "".join(f"{name}\n{body[name]}\n" for name in names).encode()
        is_first = body["SignatureVersion"] == "1"
        kind = SHA1() if is_first else SHA256()  # noqa: S303 - as SNS' version 1 is
        return base64.b64encode(self.key.sign(text, PKCS1v15(), kind)).decode()
