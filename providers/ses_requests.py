"""What SES is asked for a call's messages: which requests, with which arguments.

Source: the service model of SES v2; the size of a call from AWS' page on templates.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from models.provider_settings import SesSettings
from providers.provider import File

Message = Mapping[str, Any]

#: What a bulk call with an inline template may take (1 MB), with room for the frame.
MAX_REQUEST_BYTES = 900_000
#: What one entry's own texts may take in it.
MAX_ENTRY_BYTES = 262_144
#: Around each entry: names, tags and quotes.
_ENTRY_BYTES = 600

_PARTS = {"subject": "Subject", "text": "Text", "html": "Html"}
_HEADER_NAME = re.compile(r"[!-9;-~]{1,126}")
_HEADER_VALUE = re.compile(r"[ -~]{1,995}")


def unfit(message: Message) -> str:
    """Return why SES could not take a message; empty if it could."""
    local, _, _ = message["to"].rpartition("@")
    if not local.isascii():
        return "SES sends to addresses of ASCII letters before the @ only."
    headers = message.get("headers") or {}
    if len(headers) > 15:
        return "SES takes at most 15 headers."
    for name, value in headers.items():
        is_fit = _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)
        if not is_fit or len(name) + len(value) > 996:
            return f"SES takes no header “{name}” of that length or with such letters."
    return ""


def requests_for(
    messages: Sequence[Message], places: Sequence[int]
) -> Iterator[list[int]]:
    """Cut a call into requests, each a list of places.

    One request has one sender and reply address and a size that SES takes. Who does
    not fit into a bulk call is alone.
    """
    alike: dict[tuple[Any, Any], list[int]] = {}
    for place in places:
        message = messages[place]
        parties = (message.get("from"), message.get("replyTo"))
        alike.setdefault(parties, []).append(place)
    for group in alike.values():
        yield from _sized(messages, group)


def single(
    message: Message, settings: SesSettings, files: Sequence[File] = ()
) -> dict[str, Any]:
    """Return the arguments of `SendEmail`, which alone takes files."""
    body = {
        theirs: _content(message[ours])
        for ours, theirs in (("text", "Text"), ("html", "Html"))
        if ours in message
    }
    simple: dict[str, Any] = {
        "Subject": _content(message.get("subject", "")),
        "Body": body,
    }
    if headers := _headers(message):
        simple["Headers"] = headers
    if files:
        simple["Attachments"] = [_file(one) for one in files]
    return {
        **_frame(message, settings),
        "Destination": _destination(message),
        "Content": {"Simple": simple},
        "EmailTags": _tags(message),
    }


def bulk(messages: Sequence[Message], settings: SesSettings) -> dict[str, Any]:
    """Return the arguments of `SendBulkEmail` for messages of one sender."""
    names = [name for name in _PARTS if name in messages[0]]
    common = _common(messages, names)
    template = {
        "TemplateContent": {_PARTS[name]: f"{{{{{name}}}}}" for name in names},
        "TemplateData": orjson.dumps(common).decode(),
    }
    own = [name for name in names if name not in common]
    return {
        **_frame(messages[0], settings),
        "DefaultContent": {"Template": template},
        "BulkEmailEntries": [_entry(message, own) for message in messages],
    }


def _sized(messages: Sequence[Message], group: Sequence[int]) -> Iterator[list[int]]:
    names = [name for name in _PARTS if name in messages[group[0]]]
    common = _common([messages[place] for place in group], names)
    base = sum(map(_size, common.values()))
    cut: list[int] = []
    used = base
    for place in group:
        own = sum(_size(messages[place].get(n, "")) for n in names if n not in common)
        # Copies are recipients too, of which a bulk call takes fifty.
        is_copied = messages[place].get("cc") or messages[place].get("bcc")
        if is_copied or max(own, base) > MAX_ENTRY_BYTES:
            yield [place]
            continue
        if cut and used + own + _ENTRY_BYTES > MAX_REQUEST_BYTES:
            yield cut
            cut, used = [], base
        cut.append(place)
        used += own + _ENTRY_BYTES
    if cut:
        yield cut


def _common(messages: Sequence[Message], names: Sequence[str]) -> dict[str, str]:
    """Return the texts that all messages have alike."""
    first = messages[0]
    return {
        name: first[name]
        for name in names
        if all(message.get(name) == first[name] for message in messages)
    }


def _size(text: str) -> int:
    # Quoted twice: the texts are JSON inside a JSON text.
    return len(orjson.dumps(orjson.dumps(text).decode()))


def _frame(message: Message, settings: SesSettings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    sender = message.get("from", settings.sender)
    if sender is not None:
        found["FromEmailAddress"] = sender
    if "replyTo" in message:
        found["ReplyToAddresses"] = [message["replyTo"]]
    if settings.configuration_set is not None:
        found["ConfigurationSetName"] = settings.configuration_set
    return found


def _entry(message: Message, own: Sequence[str]) -> dict[str, Any]:
    data = orjson.dumps({name: message[name] for name in own}).decode()
    replaced = {"ReplacementTemplate": {"ReplacementTemplateData": data}}
    entry: dict[str, Any] = {
        "Destination": _destination(message),
        "ReplacementTags": _tags(message),
        "ReplacementEmailContent": replaced,
    }
    if headers := _headers(message):
        entry["ReplacementHeaders"] = headers
    return entry


def _destination(message: Message) -> dict[str, Any]:
    local, _, domain = message["to"].rpartition("@")
    if not domain.isascii():
        domain = domain.encode("idna").decode()
    found = {"ToAddresses": [f"{local}@{domain}"]}
    for ours, theirs in (("cc", "CcAddresses"), ("bcc", "BccAddresses")):
        if message.get(ours):
            found[theirs] = message[ours]
    return found


def _file(one: File) -> dict[str, Any]:
    about = one.about
    found = {
        "FileName": about.filename,
        "ContentType": about.content_type,
        "ContentDisposition": "ATTACHMENT",
        "ContentTransferEncoding": "BASE64",
        # boto writes it in base64.
        "RawContent": one.content,
    }
    if about.content_id is not None:
        found |= {"ContentDisposition": "INLINE", "ContentId": about.content_id}
    return found


def _headers(message: Message) -> list[dict[str, str]]:
    headers = (message.get("headers") or {}).items()
    return [{"Name": name, "Value": value} for name, value in headers]


def _tags(message: Message) -> list[dict[str, str]]:
    return [
        {"Name": "batch", "Value": str(message["batch"])},
        {"Name": "seq", "Value": str(message["seq"])},
        *({"Name": n, "Value": v} for n, v in message.get("tags", {}).items()),
    ]


def _content(text: str) -> dict[str, str]:
    return {"Data": text, "Charset": "UTF-8"}
