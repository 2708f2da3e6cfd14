"""What a batch says to each of its recipients, as the tenant gave it.

The fields are those of the payload's JSON; docs/payload.md lists them for tenants.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from models.errors import InvalidInputError

#: From the name in JSON to the attribute; the order is that of a message's fields.
TEXT_FIELDS = {
    "from": "sender",
    "replyTo": "reply_to",
    "subject": "subject",
    "text": "text",
    "html": "html",
}
#: The most addresses in `cc` and `bcc` together: providers take 50 with the recipient.
MOST_COPIES = 49
MOST_TAGS = 20
MOST_ATTACHMENTS = 20

#: One address, alone or behind a name: what stands for exactly one recipient.
MAILBOX = re.compile(
    r"""[^\s,;<>"@]+@[^\s,;<>"@]+|[^,;<>"@\r\n\0]*<[^\s,;<>"@]+@[^\s,;<>"@]+>"""
)
#: A tag's name or value, as Resend and SES take it.
TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}")
_CONTENT_ID = re.compile(r"[A-Za-z0-9._@-]{1,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: They carry our own ids.
_OWN_TAGS = frozenset({"batch", "seq"})


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a batch; every text is a template, unless it says otherwise.

    Attributes:
        sender: The field `from`.
        reply_to: The field `replyTo`.
        subject: One line.
        text: The plain text.
        html: The HTML text; values are escaped.
        headers: Further headers by name; values are templates of one line.
        data: Any JSON object, for webhooks; the strings in it are templates.
        cc: Further recipients of each message.
        bcc: The same, hidden.
        tags: By name; they come back in the provider's reports.
        attachments: Files by their hash, see `Attachment`; no templates.
        list_unsubscribe: Whether mails carry RFC 8058's headers, by which mailboxes
            show a button; `{{ unsubscribe_url }}` is then the recipient's own link.
    """

    sender: str | None = None
    reply_to: str | None = None
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    headers: Mapping[str, str] | None = None
    data: Mapping[str, Any] | None = None
    cc: Sequence[str] | None = None
    bcc: Sequence[str] | None = None
    tags: Mapping[str, str] | None = None
    attachments: Sequence["Attachment"] = ()
    list_unsubscribe: bool = False

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Return the content that a JSON object describes.

        Raises:
            InvalidInputError: A field is unknown or of the wrong type; it is named.
        """
        for name, value in fields.items():
            if name not in _CHECKS:
                raise InvalidInputError(
                    f"The content has no field “{name}”.", field=name
                )
            _CHECKS[name](name, value)
        _check_copies(fields)
        texts = {TEXT_FIELDS[n]: v for n, v in fields.items() if n in TEXT_FIELDS}
        return cls(
            **texts,
            headers=fields.get("headers"),
            data=fields.get("data"),
            cc=fields.get("cc"),
            bcc=fields.get("bcc"),
            tags=fields.get("tags"),
            attachments=tuple(map(Attachment.of, fields.get("attachments", ()))),
            list_unsubscribe=fields.get("listUnsubscribe", False),
        )


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that every message of a batch carries.

    Attributes:
        sha256: What it was stored under, in hexadecimal.
        filename: As the recipient sees it.
        content_type: Such as `application/pdf`.
        content_id: Makes it an image of the HTML text: `<img src="cid:…">`.
    """

    sha256: str
    filename: str
    content_type: str
    content_id: str | None = None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Return what a JSON object of the names in camel case describes."""
        return cls(
            fields["sha256"],
            fields["filename"],
            fields["contentType"],
            fields.get("contentId"),
        )


def breaks(text: str) -> bool:
    """Tell whether a text could end a header's line, or the header itself."""
    return "\n" in text or "\r" in text or "\0" in text


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise InvalidInputError(f"“{name}” must be a text.", field=name)


def _check_object(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise InvalidInputError(f"“{name}” must be an object.", field=name)


def _check_headers(name: str, value: Any) -> None:
    _check_object(name, value)
    for header, text in value.items():
        field_name = f"headers.{header}"
        if not _HEADER_NAME.fullmatch(header):
            raise InvalidInputError(
                "A header's name may hold letters, digits and - only.", field=field_name
            )
        if not isinstance(text, str):
            raise InvalidInputError(
                f"The header “{header}” must be a text.", field=field_name
            )


def _check_addresses(name: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidInputError(f"“{name}” must be an array of texts.", field=name)


def _check_copies(fields: Mapping[str, Any]) -> None:
    if len(fields.get("cc", ())) + len(fields.get("bcc", ())) > MOST_COPIES:
        raise InvalidInputError(
            f"“cc” and “bcc” may name {MOST_COPIES} addresses together.", field="cc"
        )


def _check_tags(name: str, value: Any) -> None:
    _check_object(name, value)
    if len(value) > MOST_TAGS:
        raise InvalidInputError(f"There may be {MOST_TAGS} tags.", field=name)
    for tag, text in value.items():
        if not TAG.fullmatch(tag) or tag in _OWN_TAGS:
            raise InvalidInputError(
                "A tag's name may hold letters, digits, - and _ only; “batch” and "
                "“seq” are ours.",
                field=f"tags.{tag}",
            )
        _check_text(f"tags.{tag}", text)


def _check_attachments(name: str, value: Any) -> None:
    if not isinstance(value, list) or len(value) > MOST_ATTACHMENTS:
        raise InvalidInputError(
            f"“{name}” must be an array of up to {MOST_ATTACHMENTS} files.", field=name
        )
    for place, one in enumerate(value):
        _check_object(f"{name}.{place}", one)
        _check_attachment(f"{name}.{place}", one)
    ids = [one["contentId"] for one in value if "contentId" in one]
    if len(set(ids)) < len(ids):
        raise InvalidInputError("Two files have one “contentId”.", field=name)


def _check_attachment(path: str, given: Mapping[str, Any]) -> None:
    for part in given:
        if part not in _PARTS:
            raise InvalidInputError(
                f"A file has no field “{part}”.", field=f"{path}.{part}"
            )
    for part, (shape, like) in _PARTS.items():
        value = given.get(part)
        if value is None and part == "contentId" and part not in given:
            continue
        if not isinstance(value, str) or not shape.fullmatch(value):
            raise InvalidInputError(
                f"A file's “{part}” must be {like}.", field=f"{path}.{part}"
            )


def _check_flag(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise InvalidInputError(f"“{name}” must be true or false.", field=name)


_PARTS = {
    "sha256": (_SHA256, "the hash that POST /api/attachments answered"),
    "filename": (re.compile(r"[^\x00-\x1f\x7f/\\]{1,200}"), "a name without folders"),
    "contentType": (_CONTENT_TYPE, "like application/pdf"),
    "contentId": (_CONTENT_ID, "of letters, digits and . _ @ -"),
}
_CHECKS: Mapping[str, Callable[[str, Any], None]] = {
    **dict.fromkeys(TEXT_FIELDS, _check_text),
    "headers": _check_headers,
    "data": _check_object,
    "cc": _check_addresses,
    "bcc": _check_addresses,
    "tags": _check_tags,
    "attachments": _check_attachments,
    "listUnsubscribe": _check_flag,
}
