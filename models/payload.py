"""What a batch says, decided from the three places where it may be written.

Field by field, the first that has one counts: the batch's `payload`; the columns of
batches that an older system wrote; the send config's `defaults` (ADR 0033).
"""

from collections.abc import Mapping
from typing import Any

from models.capabilities import Capabilities
from models.content import Content
from models.errors import InvalidInputError
from models.message import Templates

#: From a legacy column of `batches` to the field that it became. `from_name` stands
#: before the address of `from_email`.
LEGACY_COLUMNS: Mapping[str, str] = {
    "from_email": "from",
    "reply_to": "replyTo",
    "subject": "subject",
    "text_content": "text",
    "html_content": "html",
}
LEGACY_NAME = "from_name"

#: Headers that say who sends to whom, or how the mail is put together: fields of the
#: payload write them, or the provider.
_TAKEN_HEADERS = frozenset(
    {
        *("bcc", "cc", "from", "reply-to", "return-path", "sender", "subject", "to"),
        *("content-disposition", "content-transfer-encoding", "content-type"),
        *("date", "dkim-signature", "message-id", "mime-version", "received"),
    }
)
_UNSUBSCRIBE_HEADERS = frozenset({"list-unsubscribe", "list-unsubscribe-post"})


def content_of(
    batch: Mapping[str, Any], config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the fields of a batch's content, as the JSON of `Content.of`.

    Null counts as absent, and so does an empty legacy column. Rows without the legacy
    columns or `defaults` are as good.

    Args:
        batch: A row of `batches`.
        config: The row of its send config; without one no defaults are added.
    """
    defaults = config.get("defaults") if config is not None else None
    payload = batch.get("payload")
    layers = (defaults or {}, _legacy(batch), payload or {})
    return {k: v for layer in layers for k, v in layer.items() if v is not None}


def checked_payload(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a tenant gave, when it can be read and each template compiled.

    Stricter than the reading of a sealed batch: what once was taken is sent as it was.

    Raises:
        InvalidInputError: A field is wrong; it is named.
    """
    try:
        content = Content.of(payload)
        Templates.compile(content)
    except RecursionError as error:
        raise InvalidInputError("The payload is nested too deeply.") from error
    for name in content.headers or ():
        _check_header_name(name, content)
    return payload


def checked_defaults(defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a config's defaults; as `checked_payload`.

    They have no `from`, which is a setting of the providers: what a provider says
    against the sender then concerns the config, and not one batch. Nor do they have
    attachments, which would be sent by surprise.
    """
    for name in ("from", "attachments"):
        if name in defaults:
            raise InvalidInputError(
                f"The defaults hold no “{name}”: it belongs to the settings or the "
                "batch.",
                field=name,
            )
    return checked_payload(defaults)


def check_carried(content: Content, able: Capabilities) -> None:
    """Raise `InvalidInputError` for what the batch's provider cannot carry."""
    asked = {
        "cc": bool(content.cc),
        "bcc": bool(content.bcc),
        "tags": bool(content.tags),
        "attachments": bool(content.attachments),
        "listUnsubscribe": content.list_unsubscribe,
    }
    for name, is_asked in asked.items():
        if is_asked and name not in able.carries:
            raise InvalidInputError(
                f"The send config's provider cannot carry “{name}”; leave it out.",
                field=f"payload.{name}",
            )
    is_inline = any(one.content_id is not None for one in content.attachments)
    if is_inline and "inlineImages" not in able.carries:
        raise InvalidInputError(
            "The send config's provider cannot carry inline images; give their address "
            "on the web.",
            field="payload.attachments",
        )


def _check_header_name(name: str, content: Content) -> None:
    folded = name.lower()
    if folded in _TAKEN_HEADERS:
        raise InvalidInputError(
            f"The header “{name}” is not free: use the payload's own field for it.",
            field=f"headers.{name}",
        )
    if content.list_unsubscribe and folded in _UNSUBSCRIBE_HEADERS:
        raise InvalidInputError(
            f"With “listUnsubscribe” the header “{name}” is ours.",
            field=f"headers.{name}",
        )


def _legacy(batch: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        field: batch[column]
        for column, field in LEGACY_COLUMNS.items()
        if batch.get(column)
    }
    if found.get("from") and batch.get(LEGACY_NAME):
        name = batch[LEGACY_NAME].replace("\\", r"\\").replace('"', r"\"")
        found["from"] = f'"{name}" <{found["from"]}>'
    return found
