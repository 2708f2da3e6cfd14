"""Amazon SES: mail by `SendEmail` and, for up to fifty, by `SendBulkEmail`.

SES keeps no idempotency keys, so a call without an answer is unknown. boto writes,
signs and reads the calls; the bytes go through our own HTTP client, so that a call has
one deadline, is made once, and tells whether a byte of it left (ADR 0031).

`SendBulkEmail` takes a template only: ours has a slot for each text. What all messages
of a call have alike is given once. Sender and reply address belong to the whole call,
so messages that differ in them go out in several requests, one after the other.

Our ids travel as tags; SES reports them where the config names a configuration set.

Source: the service model of SES v2 and AWS' pages on quotas and on sending errors.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from models.capabilities import capabilities
from models.outcome import Answer
from models.provider_settings import SesSettings, required_credential
from providers import ses_requests
from providers.guard import Guard
from providers.http import HttpAnswer, NoAnswer, NotSent, json_object
from providers.provider import Account, Call, File
from providers.ses_transport import Transport
from providers.verdicts import (
    NOT_READABLE,
    ErrorTable,
    Taken,
    Then,
    Verdict,
    by_member,
    judged,
    whole,
)

#: How long the question for the account's limits may take, in seconds.
ACCOUNT_DEADLINE_S = 10.0

_REFUSED = "SES refused the message."
_KEY = "SES does not accept the credentials: check the send config's."
_SLOWER = "SES asked us to go slower."
_QUOTA = "The account's daily quota at SES is used up: raise it, or go on tomorrow."
_PAUSED = "Sending is paused at SES: look at the account there."
_SUSPENDED = "SES has suspended the account: look at it there."
_DOMAIN = "The sender's domain is not verified at SES."
_LATER = "SES failed for a moment."
_SET = "SES does not know the configuration set of the send config."

#: Names are exceptions, with the beginning of their text where one exception means
#: two things, and the states of the entries of a bulk call.
ERRORS: ErrorTable = {
    "ThrottlingException Daily message quota exceeded": Verdict(
        Then.PAUSE, "refused", _QUOTA
    ),
    "ThrottlingException": Verdict(Then.RETRY, "refused", _SLOWER),
    "Throttling Daily message quota exceeded": Verdict(Then.PAUSE, "refused", _QUOTA),
    "Throttling": Verdict(Then.RETRY, "refused", _SLOWER),
    "TooManyRequestsException": Verdict(Then.RETRY, "refused", _SLOWER),
    "LimitExceededException": Verdict(
        Then.PAUSE, "refused", "A limit of the account at SES is reached."
    ),
    "AccountSuspendedException": Verdict(Then.PAUSE, "refused", _SUSPENDED),
    "SendingPausedException": Verdict(Then.PAUSE, "refused", _PAUSED),
    "MailFromDomainNotVerifiedException": Verdict(Then.STOP_SENDER, "refused", _DOMAIN),
    "MessageRejected Email address is not verified": Verdict(
        Then.STOP_SENDER,
        "refused",
        "An address is not verified at SES: verify the sender's, leave the sandbox.",
    ),
    "MessageRejected": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    **dict.fromkeys(
        (
            "AccessDeniedException",
            "ExpiredTokenException",
            "IncompleteSignature",
            "InvalidClientTokenId",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ),
        Verdict(Then.PAUSE, "refused", _KEY),
    ),
    "NotFoundException": Verdict(Then.PAUSE, "refused", _SET),
    "BadRequestException": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "MESSAGE_REJECTED": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "MAIL_FROM_DOMAIN_NOT_VERIFIED": Verdict(Then.STOP_SENDER, "refused", _DOMAIN),
    "CONFIGURATION_SET_NOT_FOUND": Verdict(Then.PAUSE, "refused", _SET),
    "CONFIGURATION_SET_DOES_NOT_EXIST": Verdict(Then.PAUSE, "refused", _SET),
    "TEMPLATE_NOT_FOUND": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "TEMPLATE_DOES_NOT_EXIST": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "ACCOUNT_SUSPENDED": Verdict(Then.PAUSE, "refused", _SUSPENDED),
    "ACCOUNT_THROTTLED": Verdict(Then.RETRY, "refused", _SLOWER),
    "ACCOUNT_DAILY_QUOTA_EXCEEDED": Verdict(Then.PAUSE, "refused", _QUOTA),
    "INVALID_SENDING_POOL_NAME": Verdict(
        Then.PAUSE, "refused", "SES does not know the pool of addresses to send from."
    ),
    "ACCOUNT_SENDING_PAUSED": Verdict(Then.PAUSE, "refused", _PAUSED),
    "CONFIGURATION_SET_SENDING_PAUSED": Verdict(Then.PAUSE, "refused", _PAUSED),
    "INVALID_PARAMETER": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "TRANSIENT_FAILURE": Verdict(Then.RETRY, "refused", _LATER),
    # SES says no more than that; the event of our tag may.
    "FAILED": Verdict(Then.RETRY, "none", "SES failed, and does not say how."),
    "400": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "401": Verdict(Then.PAUSE, "refused", _KEY),
    "403": Verdict(Then.PAUSE, "refused", _KEY),
    "404": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "408": Verdict(Then.RETRY, "none", _LATER),
    "413": Verdict(Then.FAIL, "refused", "The message is too large for SES."),
    "429": Verdict(Then.RETRY, "refused", _SLOWER),
    "3xx": Verdict(Then.RETRY_LATER, "none", "Something answered in place of SES."),
    "4xx": Verdict(Then.FAIL, "refused", _REFUSED, quotes=True),
    "5xx": Verdict(Then.RETRY, "none", _LATER),
}

#: Texts that tell two errors of one name apart, by how they begin.
_TELLING = ("Daily message quota exceeded", "Email address is not verified")

#: After these a call goes on with its next request; others hold for that one too.
_OF_A_MESSAGE = frozenset({Then.FAIL, Then.SUPPRESS, Then.UNKNOWN})

_TOO_LATE = Verdict(Then.RETRY, "refused", "No time was left for the call to begin.")


class Ses:
    """An AWS account's SES in one region."""

    def __init__(
        self,
        settings: SesSettings,
        key_id: str,
        secret: str,
        *,
        guard: Guard,
        base_url: str | None = None,
    ) -> None:
        self._settings = settings
        self._secrets = (secret, key_id)
        self._transport = Transport(guard)
        self._client = self._transport.client(
            region_name=settings.region,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            endpoint_url=base_url,
        )
        self.capabilities = capabilities(
            "ses",
            {
                "region": settings.region,
                "maxBatch": settings.max_batch,
                "configurationSet": settings.configuration_set,
            },
        )

    @classmethod
    def of(
        cls,
        settings: Mapping[str, Any],
        credentials: Mapping[str, str],
        *,
        guard: Guard,
    ) -> Self:
        """Return the provider of a send config.

        Raises:
            InvalidInputError: A setting, or the credential `accessKeyId` or
                `secretAccessKey`, is wrong.
        """
        names = ("accessKeyId", "secretAccessKey")
        key_id, secret = (required_credential(credentials, name) for name in names)
        return cls(SesSettings.of(settings), key_id, secret, guard=guard)

    def send(self, call: Call) -> Answer:
        """Send the messages once; `ERRORS` tells what an answer means."""
        ends_at = time.monotonic() + call.deadline_s
        reasons = [ses_requests.unfit(message) for message in call.messages]
        results: list[Taken | Verdict] = [
            Verdict(Then.FAIL, "refused", reason) for reason in reasons
        ]
        fit = [place for place, reason in enumerate(reasons) if not reason]
        stopped: Verdict | None = None
        for places in ses_requests.requests_for(call.messages, fit):
            messages = [call.messages[place] for place in places]
            told = [stopped or _TOO_LATE] * len(places)
            found: Sequence[Taken | Verdict] = told
            if stopped is None and ends_at > time.monotonic():
                left_s = ends_at - time.monotonic()
                found = self._results(messages, left_s, call.files)
                stopped = _stopping(found)
            for place, result in zip(places, found, strict=True):
                results[place] = result
        return _answer(results)

    def account(self) -> Account | None:
        """Return what `GetAccount` says; none when SES does not answer."""
        found = self._transport.call(
            self._client.get_account, {}, deadline_s=ACCOUNT_DEADLINE_S
        )
        if not isinstance(found, HttpAnswer) or found.status != 200:
            return None
        return _account(json_object(found))

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.close()
        self._client.close()

    def _results(
        self,
        messages: Sequence[Mapping[str, Any]],
        deadline_s: float,
        files: Sequence[File],
    ) -> Sequence[Taken | Verdict]:
        size, settings = len(messages), self._settings
        if size == 1:
            operation = self._client.send_email
            arguments = ses_requests.single(messages[0], settings, files)
        else:
            operation = self._client.send_bulk_email
            arguments = ses_requests.bulk(messages, settings)
        found = self._transport.call(operation, arguments, deadline_s=deadline_s)
        names, words = _error_of(found)
        verdict = judged(found, ERRORS, names)
        if verdict is not None:
            return [verdict.quoting(words, self._secrets)] * size
        body = json_object(found)
        if size == 1:
            return [_taken(body)]
        return self._entries(body.get("BulkEmailEntryResults"), size)

    def _entries(self, entries: Any, size: int) -> Sequence[Taken | Verdict]:
        """Return how each member fared; a 200 can hold failures."""
        is_whole = isinstance(entries, list) and len(entries) == size
        if not is_whole or not all(isinstance(entry, Mapping) for entry in entries):
            return [NOT_READABLE] * size
        results: list[Taken | Verdict] = []
        for entry in entries:
            status = str(entry.get("Status", ""))
            if status == "SUCCESS":
                results.append(_taken(entry))
                continue
            row = ERRORS.get(status, NOT_READABLE)
            results.append(row.quoting(str(entry.get("Error", "")), self._secrets))
        return results


def _error_of(found: HttpAnswer | NotSent | NoAnswer) -> tuple[Sequence[str], str]:
    """Return an error's names, the most telling first, and its text."""
    if not isinstance(found, HttpAnswer) or found.status < 300:
        return [], ""
    body = json_object(found)
    kind = found.headers.get("x-amzn-errortype") or body.get("__type")
    kind = str(kind or body.get("code") or "").partition(":")[0].rpartition("#")[2]
    words = str(body.get("message") or body.get("Message") or "")
    telling = [f"{kind} {text}" for text in _TELLING if words.startswith(text)]
    return [*telling, *([kind] if kind else [])], words


def _taken(body: Mapping[str, Any]) -> Taken | Verdict:
    message_id = body.get("MessageId")
    return Taken(message_id) if isinstance(message_id, str) else NOT_READABLE


def _stopping(results: Sequence[Taken | Verdict]) -> Verdict | None:
    """Return why the call's further requests are not made, if they are not."""
    refused = (one for one in results if isinstance(one, Verdict))
    stopping = (
        one
        for one in refused
        if one.proof == "refused" and one.then not in _OF_A_MESSAGE
    )
    return next(stopping, None)


def _answer(results: Sequence[Taken | Verdict]) -> Answer:
    first = results[0]
    if isinstance(first, Verdict) and all(one == first for one in results):
        return whole(first, len(results))
    return by_member(results)


def _account(found: Mapping[str, Any]) -> Account:
    quota = found.get("SendQuota") or {}
    per_day = quota.get("Max24HourSend", -1.0)
    blocked = "" if found.get("SendingEnabled", True) else _PAUSED
    if found.get("EnforcementStatus") == "SHUTDOWN":
        blocked = _SUSPENDED
    return Account(
        per_s=quota.get("MaxSendRate", 1.0),
        per_day=None if per_day < 0 else per_day,
        sent_today=quota.get("SentLast24Hours", 0.0),
        is_sandbox=not found.get("ProductionAccessEnabled", False),
        blocked=blocked,
    )
