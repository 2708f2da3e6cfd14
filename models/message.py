"""What a batch says, and how it becomes one message for each recipient.

A template is a text with `{{ name }}` in it. `{{ address }}` is the recipient's
address; every other name is one of the recipient's variables. In `html` a value is
escaped, but not inside three braces, `{{{ name }}}`. There is no way to write two
opening braces as themselves.

Rendering works by column, not by recipient: a chunk's values of one variable are one
list, and the joins over those lists run in C. That is why it costs about 1 µs a
recipient.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import repeat
from operator import itemgetter
from typing import Any, Self

from models.errors import InvalidInputError

#: The one name that is no variable of the recipient.
ADDRESS = "address"

_NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
_SLOT = re.compile(rf"\{{\{{\{{\s*({_NAME})\s*\}}\}}\}}|\{{\{{\s*({_NAME})\s*\}}\}}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

#: From the name in JSON to the attribute.
_TEXT_FIELDS = {
    "from": "sender",
    "replyTo": "reply_to",
    "subject": "subject",
    "text": "text",
    "html": "html",
}
#: Fields that become headers of a mail, where a line break would begin another.
_ONE_LINE = frozenset({"from", "replyTo", "subject"})


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a batch, as the tenant gave it; every text is a template.

    Attributes:
        sender: The field `from`.
        reply_to: The field `replyTo`.
        subject: One line.
        text: The plain text.
        html: The HTML text; values are escaped.
        headers: Further headers by name; values are templates of one line.
        data: Any JSON object, for webhooks; the strings in it are templates.
    """

    sender: str | None = None
    reply_to: str | None = None
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    headers: Mapping[str, str] | None = None
    data: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """Return the content that a JSON object describes.

        Raises:
            InvalidInputError: A field is unknown or of the wrong type; it is named.
        """
        for name, value in fields.items():
            _check_field(name, value)
        texts = {_TEXT_FIELDS[n]: v for n, v in fields.items() if n in _TEXT_FIELDS}
        return cls(**texts, headers=fields.get("headers"), data=fields.get("data"))


def _check_field(name: str, value: Any) -> None:
    if name in _TEXT_FIELDS:
        if not isinstance(value, str):
            raise InvalidInputError(f"“{name}” must be a text.", field=name)
    elif name not in ("headers", "data"):
        raise InvalidInputError(f"The content has no field “{name}”.", field=name)
    elif not isinstance(value, Mapping):
        raise InvalidInputError(f"“{name}” must be an object.", field=name)
    elif name == "headers":
        for header, text in value.items():
            _check_header(header, text)


def _check_header(name: str, value: Any) -> None:
    field_name = f"headers.{name}"
    if not _HEADER_NAME.fullmatch(name):
        raise InvalidInputError(
            "A header's name may hold letters, digits and - only.", field=field_name
        )
    if not isinstance(value, str):
        raise InvalidInputError(
            f"The header “{name}” must be a text.", field=field_name
        )


@dataclass(frozen=True, slots=True)
class Rendered:
    """The messages of a chunk.

    Attributes:
        messages: By position; none for those in `failed`.
        failed: The reason a tenant may read, by position.
    """

    messages: list[dict[str, Any] | None]
    failed: dict[int, str]


@dataclass(frozen=True, slots=True)
class Templates:
    """A compiled content; made once for a batch, used for each of its chunks.

    Attributes:
        names: The variables that the templates use, `address` aside.
    """

    names: frozenset[str]
    _slots: frozenset["_Slot"]
    _message: "_Object"

    @classmethod
    def compile(cls, content: Content) -> Self:
        """Return the content's templates.

        Raises:
            InvalidInputError: A template is malformed; its field is named.
        """
        fields: list[tuple[str, _Node]] = []
        for name, attribute in _TEXT_FIELDS.items():
            if (text := getattr(content, attribute)) is not None:
                fields.append((name, _compile_text(text, name)))
        if content.headers is not None:
            fields.append(("headers", _compile(content.headers, "headers")))
        if content.data is not None:
            fields.append(("data", _compile(content.data, "data")))
        message = _object(fields)
        slots = frozenset(_slots_of(message))
        return cls(frozenset(s.name for s in slots) - {ADDRESS}, slots, message)

    def missing_everywhere(self, known_names: Collection[str]) -> set[str]:
        """Return the variables that no recipient has: a batch to refuse unsent."""
        return set(self.names).difference(known_names)

    def render(
        self,
        batch_id: str,
        first_seq: int,
        addresses: Sequence[str],
        variables: Sequence[Mapping[str, Any]],
    ) -> Rendered:
        """Return the messages of consecutive recipients, and who can have none.

        A message is `{"batch": …, "seq": n, "to": address}` and the content's fields
        under their names in JSON, in the order of `Content`. The same input gives
        equal messages with their keys in the same order, so a repeated call has the
        same body.

        A variable that is missing or null, that is a list or an object, or that
        would break a header's line fails its recipient and nobody else. Numbers and
        truth values are written as in JSON.
        """
        size = len(addresses)
        failed: dict[int, str] = {}
        columns = _columns(self._slots, addresses, variables, failed)
        messages = _Rendering(columns, size, failed).objects(
            self._message,
            {"batch": batch_id, "seq": 0, "to": ""},
            (("seq", range(first_seq, first_seq + size)), ("to", addresses)),
        )
        rendered: list[dict[str, Any] | None] = list(messages)
        for position in failed:
            rendered[position] = None
        return Rendered(rendered, failed)


@dataclass(frozen=True, slots=True)
class _Slot:
    """A place where a value goes."""

    name: str
    escaped: bool


@dataclass(frozen=True, slots=True)
class _Text:
    """A text with at least one slot."""

    parts: tuple["str | _Slot", ...]
    field: str
    one_line: bool


@dataclass(frozen=True, slots=True)
class _Object:
    """A JSON object; `constant` holds every key in order, `changing` the slots'."""

    constant: dict[str, Any]
    changing: tuple[tuple[str, "_Node"], ...] = ()


@dataclass(frozen=True, slots=True)
class _Array:
    """A JSON array with at least one slot in it."""

    items: tuple["_Node", ...]


@dataclass(frozen=True, slots=True)
class _Constant:
    """A value without slots, shared by all messages."""

    value: Any = field(hash=False)


_Node = _Text | _Object | _Array | _Constant


def _compile(value: Any, path: str) -> _Node:
    """Return the node of any JSON value; `path` names it in errors."""
    if isinstance(value, str):
        return _compile_text(value, path)
    if isinstance(value, Mapping):
        found = _object([(k, _compile(v, f"{path}.{k}")) for k, v in value.items()])
        return found if found.changing else _Constant(found.constant)
    if isinstance(value, list):
        items = tuple(_compile(v, f"{path}.{i}") for i, v in enumerate(value))
        if any(not isinstance(item, _Constant) for item in items):
            return _Array(items)
    return _Constant(value)


def _object(fields: list[tuple[str, _Node]]) -> _Object:
    return _Object(
        {k: n.value if isinstance(n, _Constant) else None for k, n in fields},
        tuple((k, n) for k, n in fields if not isinstance(n, _Constant)),
    )


def _compile_text(text: str, path: str) -> _Text | _Constant:
    parts = tuple(part for part in _parts(text, escaped=path == "html") if part)
    literals = [part for part in parts if isinstance(part, str)]
    if any("{{" in literal for literal in literals):
        raise InvalidInputError(
            f"“{path}” has two opening braces without a variable's name and two "
            "closing braces after them; write {{ name }}.",
            field=path,
        )
    one_line = path in _ONE_LINE or path.startswith("headers.")
    if one_line and any(map(_breaks, literals)):
        raise InvalidInputError(f"“{path}” must be one line.", field=path)
    if len(literals) == len(parts):
        return _Constant(text)
    return _Text(parts, path, one_line)


def _parts(text: str, *, escaped: bool) -> Iterator[str | _Slot]:
    end = 0
    for found in _SLOT.finditer(text):
        yield text[end : found.start()]
        raw, plain = found.groups()
        yield _Slot(raw or plain, escaped and raw is None)
        end = found.end()
    yield text[end:]


def _breaks(text: str) -> bool:
    return "\n" in text or "\r" in text


def _slots_of(node: _Node) -> Iterator[_Slot]:
    if isinstance(node, _Text):
        yield from (part for part in node.parts if isinstance(part, _Slot))
    elif isinstance(node, _Object):
        for _, value in node.changing:
            yield from _slots_of(value)
    elif isinstance(node, _Array):
        for item in node.items:
            yield from _slots_of(item)


def _columns(
    slots: Collection[_Slot],
    addresses: Sequence[str],
    variables: Sequence[Mapping[str, Any]],
    failed: dict[int, str],
) -> dict[_Slot, Sequence[str]]:
    """Return each slot's values by position; failed positions hold an empty text."""
    by_name: dict[str, Sequence[str]] = {ADDRESS: addresses}
    for name in sorted({slot.name for slot in slots} - {ADDRESS}):
        by_name[name] = _values(name, variables, failed)
    return {
        slot: _escaped(by_name[slot.name]) if slot.escaped else by_name[slot.name]
        for slot in slots
    }


def _values(
    name: str, variables: Sequence[Mapping[str, Any]], failed: dict[int, str]
) -> list[str]:
    try:
        found = list(map(itemgetter(name), variables))
    except KeyError:
        found = [row.get(name) for row in variables]
    if set(map(type, found)) <= {str}:
        return found
    return [_value(name, value, i, failed) for i, value in enumerate(found)]


def _value(name: str, value: Any, position: int, failed: dict[int, str]) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        failed.setdefault(position, f'Variable "{name}" is missing.')
        return ""
    if isinstance(value, (Mapping, list)):
        failed.setdefault(position, f'Variable "{name}" is not a text or a number.')
        return ""
    return json.dumps(value)


def _escaped(values: Sequence[str]) -> Sequence[str]:
    # One call escapes the whole column, unless a value holds the separator itself.
    found = escape("\0".join(values)).split("\0") if values else []
    return found if len(found) == len(values) else [escape(v) for v in values]


@dataclass(frozen=True, slots=True)
class _Rendering:
    """One chunk on its way from columns to messages."""

    columns: Mapping[_Slot, Sequence[str]]
    size: int
    failed: dict[int, str]

    def objects(
        self,
        node: _Object,
        constant: Mapping[str, Any],
        columns: Iterable[tuple[str, Iterable[Any]]] = (),
    ) -> list[dict[str, Any]]:
        """Return one object a position, with `constant` and `columns` before it."""
        # Copying a prepared dict and setting what changes is a third of the cost of
        # building each anew, and keeps the keys' order.
        made = list(map(dict.copy, repeat({**constant, **node.constant}, self.size)))
        changing = ((key, self._column(value)) for key, value in node.changing)
        for key, column in (*columns, *changing):
            for message, value in zip(made, column, strict=False):
                message[key] = value
        return made

    def _column(self, node: _Node) -> Iterable[Any]:
        if isinstance(node, _Text):
            return self._texts(node)
        if isinstance(node, _Object):
            return self.objects(node, {})
        if isinstance(node, _Array):
            items = (self._column(item) for item in node.items)
            return map(list, zip(*items, strict=False))
        return repeat(node.value)

    def _texts(self, node: _Text) -> Iterable[str]:
        pieces = (
            repeat(part) if isinstance(part, str) else self.columns[part]
            for part in node.parts
        )
        # Constants repeat without end; the slots' columns end the zip.
        texts = list(map("".join, zip(*pieces, strict=False)))
        if node.one_line and _breaks("".join(texts)):
            for position, text in enumerate(texts):
                if _breaks(text):
                    reason = f"A variable puts a line break into “{node.field}”."
                    self.failed.setdefault(position, reason)
        return texts
