"""How what a batch says becomes one message for each recipient.

A template is a text with `{{ name }}` in it. `{{ address }}` is the recipient's
address, `{{ unsubscribe_url }}` its link where the content asks for one; every other
name is one of the recipient's variables. In `html` a value is
escaped, but not inside three braces, `{{{ name }}}`. There is no way to write two
opening braces as themselves.

Rendering works by column, not by recipient: a chunk's values of one variable are one
list, and the joins over those lists run in C. That is why it costs about 1 µs a
recipient.
"""

import json
import re
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from html import escape
from itertools import repeat
from operator import itemgetter
from typing import Any, Self

from models.content import MAILBOX, TAG, TEXT_FIELDS, Content, breaks
from models.errors import InvalidInputError

__all__ = ["ADDRESS", "UNSUBSCRIBE_URL", "Content", "Rendered", "Templates"]

#: The name that is no variable of the recipient.
ADDRESS = "address"
#: The same where the content asks for a link to unsubscribe by; else it is a variable.
UNSUBSCRIBE_URL = "unsubscribe_url"

#: From the first seq and the number of recipients to each one's link.
Links = Callable[[int, int], Sequence[str]]

_NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"
_SLOT = re.compile(rf"\{{\{{\{{\s*({_NAME})\s*\}}\}}\}}|\{{\{{\s*({_NAME})\s*\}}\}}")

#: What becomes a header of a mail, where a line break would begin another, by the
#: beginning of its path.
_ONE_LINE = ("from", "replyTo", "subject", "headers.", "cc.", "bcc.", "tags.")
#: Fields whose texts must be of a shape, and what a recipient is told who has another.
_SHAPES = {
    "cc": (MAILBOX, "is not one mail address"),
    "bcc": (MAILBOX, "is not one mail address"),
    "tags": (TAG, "is not 1 to 256 letters, digits, - and _"),
}
_ONE_CLICK = {
    "List-Unsubscribe": "<{{ unsubscribe_url }}>",
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
}


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
        names: The variables that the templates use, without those that are ours.
    """

    names: frozenset[str]
    _slots: frozenset["_Slot"]
    _message: "_Object"
    _links: Links | None

    @classmethod
    def compile(cls, content: Content, links: Links | None = None) -> Self:
        """Return the content's templates.

        `links` is asked once a chunk, and only where the content has
        `list_unsubscribe`; without it such a content can be checked, not rendered.

        Raises:
            InvalidInputError: A template is malformed; its field is named.
        """
        fields = [(n, _compile(v, n)) for n, v in _fields(content) if v is not None]
        message = _object(fields)
        slots = frozenset(_slots_of(message))
        ours = {ADDRESS, *([UNSUBSCRIBE_URL] if content.list_unsubscribe else [])}
        names = frozenset(slot.name for slot in slots) - ours
        asked = links or _no_links
        return cls(names, slots, message, asked if content.list_unsubscribe else None)

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
        would break a header's line fails its recipient and nobody else, as does an
        address that would. Numbers and truth values are written as in JSON.
        """
        size = len(addresses)
        failed: dict[int, str] = {}
        if breaks("".join(addresses)):
            broken = (i for i, address in enumerate(addresses) if breaks(address))
            failed.update(dict.fromkeys(broken, "The address holds a line break."))
        ours: dict[str, Sequence[str]] = {ADDRESS: addresses}
        if self._links is not None:
            ours[UNSUBSCRIBE_URL] = self._links(first_seq, size)
        columns = _columns(self._slots, ours, variables, failed)
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
    shape: re.Pattern[str] | None = None


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


def _fields(content: Content) -> Iterator[tuple[str, Any]]:
    """Yield a message's fields in their order, none where the content has none."""
    for name, attribute in TEXT_FIELDS.items():
        yield name, getattr(content, attribute)
    yield "cc", content.cc
    yield "bcc", content.bcc
    yield "tags", content.tags
    headers = content.headers
    if content.list_unsubscribe:
        headers = {**(headers or {}), **_ONE_CLICK}
    yield "headers", headers
    yield "data", content.data


def _no_links(_first: int, _size: int) -> Sequence[str]:
    raise InvalidInputError(
        "Mails with “listUnsubscribe” need the server's UNSUBSCRIBE_KEYS.",
        field="listUnsubscribe",
    )


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
    one_line = path.startswith(_ONE_LINE)
    if one_line and any(map(breaks, literals)):
        raise InvalidInputError(f"“{path}” must be one line.", field=path)
    shape, told = _SHAPES.get(path.partition(".")[0], (None, ""))
    if len(literals) < len(parts):
        return _Text(parts, path, one_line, shape)
    if shape is not None and not shape.fullmatch(text):
        raise InvalidInputError(f"“{path}” {told}.", field=path)
    return _Constant(text)


def _parts(text: str, *, escaped: bool) -> Iterator[str | _Slot]:
    end = 0
    for found in _SLOT.finditer(text):
        yield text[end : found.start()]
        raw, plain = found.groups()
        yield _Slot(raw or plain, escaped and raw is None)
        end = found.end()
    yield text[end:]


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
    ours: Mapping[str, Sequence[str]],
    variables: Sequence[Mapping[str, Any]],
    failed: dict[int, str],
) -> dict[_Slot, Sequence[str]]:
    """Return each slot's values by position; failed positions hold an empty text."""
    by_name = dict(ours)
    for name in sorted({slot.name for slot in slots} - by_name.keys()):
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
        if node.one_line and breaks("".join(texts)):
            reason = f"A variable puts a line break into “{node.field}”."
            self._fail((i for i, text in enumerate(texts) if breaks(text)), reason)
        if (shape := node.shape) is not None:
            reason = f"With its variables “{node.field}” {_told(node.field)}."
            unfit = (i for i, text in enumerate(texts) if not shape.fullmatch(text))
            self._fail(unfit, reason)
        return texts

    def _fail(self, positions: Iterable[int], reason: str) -> None:
        for position in positions:
            self.failed.setdefault(position, reason)


def _told(path: str) -> str:
    return _SHAPES[path.partition(".")[0]][1]
