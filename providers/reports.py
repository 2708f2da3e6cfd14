"""What providers' reports mean, one function for each provider.

Our ids come back in them: as tags from Resend and SES, in the address that Telnyx
reports to, as they are from custom endpoints. Without them the provider's message id
has to be looked up.

A provider that took a message and then says that it could not send it has not delivered
it: that is *bounced*, and not *failed*, which says that no call was taken
(docs/states.md). A soft bounce is one, too; but an automatic answer, which SES reports
as a soft bounce without a diagnosis, says nothing about the message.

Sources: Resend's, AWS' and Telnyx' pages on events.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from models.jobs import RecordWebhook
from models.report import MAX_ERROR_CHARACTERS, Report
from models.status import RecipientStatus
from providers import telnyx
from providers.verdicts import Then

#: A report's own time counts if it is at most so long before we got it, or after.
OLDEST = timedelta(days=30)
AHEAD = timedelta(minutes=5)
#: The highest seq that Postgres can hold.
_MAX_SEQ = 2**31 - 1

_Body = Mapping[str, Any]

#: What a custom endpoint may report.
CUSTOM_STATUSES = frozenset(
    {
        RecipientStatus.SENT,
        RecipientStatus.DELIVERED,
        RecipientStatus.OPENED,
        RecipientStatus.CLICKED,
        RecipientStatus.BOUNCED,
        RecipientStatus.COMPLAINED,
        RecipientStatus.FAILED,
    }
)
#: Resend's events that are about a message's way, with the part that tells more; the
#: others are let go.
RESEND_EVENTS: Mapping[str, tuple[RecipientStatus, str]] = {
    "email.sent": (RecipientStatus.SENT, "sent"),
    "email.delivered": (RecipientStatus.DELIVERED, "delivered"),
    "email.opened": (RecipientStatus.OPENED, "open"),
    "email.clicked": (RecipientStatus.CLICKED, "click"),
    "email.bounced": (RecipientStatus.BOUNCED, "bounce"),
    "email.failed": (RecipientStatus.BOUNCED, "failed"),
    "email.suppressed": (RecipientStatus.BOUNCED, "suppressed"),
    "email.complained": (RecipientStatus.COMPLAINED, "complaint"),
}
#: SES' likewise.
SES_EVENTS: Mapping[str, tuple[RecipientStatus, str]] = {
    "Send": (RecipientStatus.SENT, "send"),
    "Delivery": (RecipientStatus.DELIVERED, "delivery"),
    "Open": (RecipientStatus.OPENED, "open"),
    "Click": (RecipientStatus.CLICKED, "click"),
    "Bounce": (RecipientStatus.BOUNCED, "bounce"),
    "Reject": (RecipientStatus.BOUNCED, "reject"),
    "Rendering Failure": (RecipientStatus.BOUNCED, "failure"),
    "Complaint": (RecipientStatus.COMPLAINED, "complaint"),
}
#: By what Telnyx says of the receiver; other states are on the way.
TELNYX_STATES: Mapping[str, RecipientStatus] = {
    "sent": RecipientStatus.SENT,
    "delivery_unconfirmed": RecipientStatus.SENT,
    "delivered": RecipientStatus.DELIVERED,
    "expired": RecipientStatus.BOUNCED,
    "sending_failed": RecipientStatus.BOUNCED,
    "delivery_failed": RecipientStatus.BOUNCED,
}


def report_of(job: RecordWebhook) -> Report | None:
    """Return what a provider reported; none where it is nothing about a message.

    Whatever the body holds, it raises nothing: what cannot be read is nothing.
    """
    read = _READERS.get(job.provider)
    found = read(job.body) if read else None
    if found is None:
        return None
    received_at = datetime.fromtimestamp(job.received_at, UTC)
    return replace(found, occurred_at=_believed(found.occurred_at, received_at))


def _resend(body: _Body) -> Report | None:
    kind = _text(body, "type")
    if kind not in RESEND_EVENTS:
        return None
    status, part = RESEND_EVENTS[kind]
    data = _part(body, "data")
    tags, why = _part(data, "tags"), _part(data, part)
    sub_type = _text(why, "subType")
    if kind == "email.bounced" and _is_automatic(_text(why, "type"), sub_type, why):
        return None
    batch_id, seq = _ids(tags.get("batch"), tags.get("seq"))
    return Report(
        status,
        _moment(_text(body, "created_at")),
        batch_id,
        seq,
        message_id=_text(data, "email_id"),
        error=_error(sub_type, _text(why, "message") or _text(why, "reason")),
        # Resend does not send to whom it has seen a hard bounce or complaint of.
        is_hard=kind == "email.suppressed" or _text(why, "type") == "Permanent",
    )


def _ses(body: _Body) -> Report | None:
    kind = _text(body, "eventType") or _text(body, "notificationType")
    if kind not in SES_EVENTS:
        return None
    status, name = SES_EVENTS[kind]
    mail, what = _part(body, "mail"), _part(body, name)
    sub_type = _text(what, f"{name}SubType")
    is_hard = _text(what, "bounceType") == "Permanent"
    if status is RecipientStatus.COMPLAINED:
        if _text(what, "complaintFeedbackType") == "not-spam":
            return None
        if sub_type == "OnAccountSuppressionList":
            # SES did not send it, because of a complaint about an earlier message.
            status, is_hard = RecipientStatus.BOUNCED, True
    people = [
        one
        for name_of in ("bouncedRecipients", "complainedRecipients")
        for one in _objects(what.get(name_of))
    ]
    told = next(iter(people), {})
    if name == "bounce" and _is_automatic(_text(what, "bounceType"), sub_type, told):
        return None
    tags = _part(mail, "tags")
    batch_id, seq = _ids(_first(tags.get("batch")), _first(tags.get("seq")))
    words = _text(told, "diagnosticCode") or _text(what, "errorMessage")
    found = Report(
        status,
        _moment(_text(what, "timestamp") or _text(mail, "timestamp")),
        batch_id,
        seq,
        message_id=_text(mail, "messageId"),
        error=_error(sub_type, words or _text(what, "reason")),
        is_hard=is_hard,
    )
    reached = [one for one in _list(what.get("recipients")) if isinstance(one, str)]
    return _aimed(found, mail, [_text(one, "emailAddress") for one in people] + reached)


def _aimed(report: Report, mail: _Body, reported: Sequence[str]) -> Report:
    """Return a report with who of a message's recipients and copies it is about."""
    everybody = _list(mail.get("destination"))
    if len(everybody) < 2 or not reported:
        return report
    ours = _first(_part(mail, "commonHeaders").get("to")) or everybody[0]
    address = _bare(str(ours))
    copies = [one for one in map(_bare, reported) if one != address]
    return replace(
        report, is_of_recipient=len(copies) < len(reported), copies=tuple(copies)
    )


def _telnyx(body: _Body) -> Report | None:
    data, meta = _part(body, "data"), _part(body, "meta")
    if _text(data, "event_type") not in {"message.sent", "message.finalized"}:
        return None
    payload = _part(data, "payload")
    receiver = next(iter(_objects(payload.get("to"))), {})
    status = TELNYX_STATES.get(_text(receiver, "status"))
    if status is None:
        return None
    errors = _objects(payload.get("errors"))
    words = [_text(one, "title") or _text(one, "detail") for one in errors]
    url = _text(payload, "webhook_url") or _text(meta, "delivered_to")
    ids = _query(url)
    batch_id, seq = _ids(_first(ids.get("batch")), _first(ids.get("seq")))
    has_bounced = status is RecipientStatus.BOUNCED
    return Report(
        status,
        _moment(_text(data, "occurred_at")),
        batch_id,
        seq,
        message_id=_text(payload, "id"),
        error=_error(next(iter(words), "")) if has_bounced else "",
        is_hard=has_bounced and any(map(_takes_nothing, errors)),
    )


def _takes_nothing(error: _Body) -> bool:
    """Tell whether a number gets no messages: as after a refusal to send to it."""
    verdict = telnyx.ERRORS.get(str(error.get("code", "")))
    return verdict is not None and verdict.then is Then.SUPPRESS


def _custom(body: _Body) -> Report | None:
    kind = _text(body, "type")
    if kind not in CUSTOM_STATUSES:
        return None
    status = RecipientStatus(kind)
    batch_id, seq = _ids(body.get("batch"), body.get("seq"))
    message_id = body.get("id")
    return Report(
        status,
        _moment(_text(body, "timestamp")),
        batch_id,
        seq,
        message_id=_words(str(message_id)) if message_id else "",
        error=_error(_text(body, "error")),
        is_hard=status is RecipientStatus.BOUNCED and body.get("permanent") is True,
    )


_READERS: Mapping[str, Callable[[_Body], Report | None]] = {
    "resend": _resend,
    "ses": _ses,
    "telnyx": _telnyx,
    "custom": _custom,
}


def _is_automatic(kind: str, sub_type: str, told: _Body) -> bool:
    """Tell whether a bounce is somebody's answering machine.

    Source: AWS, "Amazon SNS notification contents", on bounces of type Transient.
    """
    is_diagnosed = told.get("diagnosticCode") or told.get("status")
    return kind == "Transient" and sub_type == "General" and not is_diagnosed


def _ids(batch: object, seq: object) -> tuple[UUID | None, int]:
    """Return our ids; no batch where either is not ours."""
    if isinstance(seq, bool) or not isinstance(seq, str | int):
        return None, 0
    try:
        batch_id, number = UUID(str(batch)), int(seq)
    except ValueError:
        return None, 0
    return (batch_id, number) if 0 <= number <= _MAX_SEQ else (None, 0)


def _moment(text: str) -> datetime:
    """Return a time as providers write it; one that nobody believes if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _NEVER
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_NEVER = datetime.min.replace(tzinfo=UTC)


def _believed(moment: datetime, received_at: datetime) -> datetime:
    """Return when it happened; when we heard of it, where that cannot be."""
    is_likely = received_at - OLDEST <= moment <= received_at + AHEAD
    return moment if is_likely else received_at


def _error(*parts: str) -> str:
    return ": ".join(part for part in parts if part)[:MAX_ERROR_CHARACTERS]


def _text(body: _Body, name: str) -> str:
    value = body.get(name)
    return _words(value) if isinstance(value, str) else ""


def _words(text: str) -> str:
    """Return a text that every database takes: no control characters."""
    if text.isprintable():
        return text
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _part(body: _Body, name: str) -> _Body:
    value = body.get(name)
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _objects(value: object) -> Sequence[_Body]:
    return [one for one in _list(value) if isinstance(one, Mapping)]


def _first(value: object) -> object:
    return next(iter(_list(value)), None)


def _query(url: str) -> Mapping[str, Sequence[str]]:
    try:
        return parse_qs(urlsplit(url).query)
    except ValueError:
        return {}


def _bare(address: str) -> str:
    return parseaddr(address)[1].lower()


def keys_of(jobs: Iterable[tuple[RecordWebhook, Report]]) -> list[str]:
    """Return what each report is known by when it comes again; `""` if by nothing.

    A provider's id is its own, and an endpoint's may be chosen badly. So the account
    and what is reported of whom belong to it.
    """
    return [
        "\x1f".join(
            (
                job.provider,
                job.config_id or "",
                job.event_id,
                report.status,
                str(report.batch_id),
                str(report.seq),
                report.message_id,
            )
        )
        if job.event_id
        else ""
        for job, report in jobs
    ]
