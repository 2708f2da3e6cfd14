"""Uploads of recipients, read as a stream: which rows are good, and which are not.

Nothing is held but the block at hand, so an upload may be of any size. An upload that
cannot be read any further is refused as a whole, whatever was yielded before: the
caller takes all blocks or none.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any

import orjson

from models.addresses import WRONG_ADDRESS, Channel, are_good, spelled
from models.errors import InvalidInputError

#: The longest single row; more than that is never buffered.
MAX_ROW_BYTES = 1_000_000
#: The largest JSON array, which is read as a whole; NDJSON has no such cap.
MAX_JSON_BYTES = 10_000_000
#: Rows in a block, good and bad together; the last block has fewer.
BLOCK_ROWS = 4096
#: Where the address is looked for, the first found counts, whatever its case.
ADDRESS_NAMES = ("address", "email", "e-mail", "to", "phone", "mobile", "recipient")

_PIECE_BYTES = 262_144


class Format(StrEnum):
    """How an upload is written, by the usual ending of its name."""

    CSV = "csv"
    NDJSON = "ndjson"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive rows of an upload, as columns.

    Attributes:
        lines: The line on which each good row begins, from 1. In a JSON array it is
            the item's number, from 1.
        addresses: Each good row's address, trimmed, a mail's domain in lower case, a
            number without what people write between digits.
        variables: Each good row's variables, as the text of a JSON object that
            Postgres takes as `jsonb`.
        invalid: The line of each bad row and the reason, without its address.
        names: The variables' names that occur in good rows.
    """

    lines: list[int] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)
    invalid: list[tuple[int, str]] = field(default_factory=list)
    names: frozenset[str] = frozenset()

    @property
    def rows(self) -> int:
        """Return how many rows were read, good and bad."""
        return len(self.lines) + len(self.invalid)


def read(
    chunks: Iterable[bytes], *, upload_format: Format, channel: Channel
) -> Iterator[Block]:
    """Yield the rows of an upload in blocks of at most `BLOCK_ROWS`.

    CSV has a header; one column is the address (see `ADDRESS_NAMES`), every other is
    a variable, and an empty or absent cell is an empty text. NDJSON holds an object a
    line and JSON an array of objects, with the address under one of those names; the
    variables are the object's other keys and those in `variables`. Blank lines do not
    count. A bad row is reported by its line and stops nothing.

    Raises:
        InvalidInputError: There is no row, no address column, a broken character, or
            a row over `MAX_ROW_BYTES`; the text names the line.
    """
    readers: Mapping[Format, Callable[[Iterable[bytes]], Iterator[_Rows]]] = {
        Format.CSV: _csv_rows,
        Format.NDJSON: _ndjson_rows,
        Format.JSON: _json_rows,
    }
    empty = True
    for rows in readers[upload_format](chunks):
        if rows.lines or rows.invalid:
            empty = False
            yield _checked(rows, channel)
    if empty:
        raise InvalidInputError("The file has no recipients; give it at least one row.")


@dataclass(slots=True)
class _Rows:
    """A block on its way; addresses are not yet looked at."""

    lines: list[int] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    variables: list[Mapping[str, Any]] = field(default_factory=list)
    invalid: list[tuple[int, str]] = field(default_factory=list)
    names: frozenset[str] | None = None

    def is_full(self) -> bool:
        return len(self.lines) + len(self.invalid) >= BLOCK_ROWS


class _Lines:
    """An upload's lines with their line feeds, and a watch on the record at hand."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.count = 0
        self.record_size = 0

    def __iter__(self) -> Iterator[str]:
        for piece in self._pieces():
            for line in io.StringIO(self._decoded(piece), newline="\n"):
                self.count += 1
                self.record_size += len(line)
                if self.record_size > MAX_ROW_BYTES:
                    raise _too_long(self.count)
                yield line

    def _pieces(self) -> Iterator[bytes]:
        """Yield whole lines, many at once."""
        rest = b""
        is_first = True
        for chunk in self._chunks:
            for start in range(0, len(chunk), _PIECE_BYTES):
                rest += chunk[start : start + _PIECE_BYTES]
                if is_first and len(rest) >= len(_BOM):
                    is_first, rest = False, rest.removeprefix(_BOM)
                end = rest.rfind(b"\n") + 1
                if len(rest) - end > MAX_ROW_BYTES:
                    raise _too_long(self.count + rest.count(b"\n") + 1)
                if end:
                    yield rest[:end]
                    rest = rest[end:]
        if rest:
            yield rest.removeprefix(_BOM) if is_first else rest

    def _decoded(self, piece: bytes) -> str:
        try:
            return piece.decode()
        except UnicodeDecodeError as error:
            line = self.count + piece.count(b"\n", 0, error.start) + 1
            raise InvalidInputError(
                f"Line {line} is not UTF-8; save the file as UTF-8 and upload it again."
            ) from error


_BOM = b"\xef\xbb\xbf"


def _too_long(line: int) -> InvalidInputError:
    return InvalidInputError(
        f"The row at line {line} is longer than {MAX_ROW_BYTES:,} bytes; "
        "is a quote left open, or a line feed missing?"
    )


def _csv_rows(chunks: Iterable[bytes]) -> Iterator[_Rows]:
    lines = _Lines(chunks)
    invalid: list[tuple[int, str]] = []
    records = _csv_records(csv.reader(lines, strict=True), lines, invalid)
    _, header = next(records, (0, []))
    if not header:
        raise InvalidInputError("The file is empty; begin with a header row.")
    names, at = _csv_names(header)
    while (block := list(islice(records, BLOCK_ROWS))) or invalid:
        fitted = _fitted(block, len(header), invalid)
        yield _Rows(
            lines=[line for line, _ in fitted],
            addresses=[cells.pop(at) for _, cells in fitted],
            variables=[dict(zip(names, cells, strict=True)) for _, cells in fitted],
            invalid=invalid.copy(),
            names=frozenset(names),
        )
        invalid.clear()


def _csv_records(
    reader: Any, lines: _Lines, invalid: list[tuple[int, str]]
) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line and the cells of each record that is not blank."""
    while True:
        line = lines.count + 1
        lines.record_size = 0
        try:
            for cells in reader:
                if cells:
                    yield line, cells
                line = lines.count + 1
                lines.record_size = 0
        except csv.Error as error:
            if lines.count > line:
                # What the open quote has swallowed cannot be told from other rows.
                raise InvalidInputError(
                    f"The row at line {line} cannot be read to its end; "
                    "is a quote left open?"
                ) from error
            invalid.append((line, f"The row is not CSV: {error}."))
        else:
            return


def _fitted(
    block: list[tuple[int, list[str]]], width: int, invalid: list[tuple[int, str]]
) -> list[tuple[int, list[str]]]:
    """Return the records that fit the header, short ones filled up."""
    if all(len(cells) == width for _, cells in block):
        return block
    fitted = []
    for line, cells in block:
        if len(cells) > width:
            reason = f"The row has {len(cells)} cells, the header {width}."
            invalid.append((line, reason))
        else:
            cells.extend([""] * (width - len(cells)))
            fitted.append((line, cells))
    return fitted


def _csv_names(header: list[str]) -> tuple[list[str], int]:
    """Return the variables' names and where the address stands."""
    names = [name.strip() for name in header]
    folded = [name.lower() for name in names]
    at = next((folded.index(n) for n in ADDRESS_NAMES if n in folded), None)
    if at is None:
        raise InvalidInputError(
            "No column holds the address; the header has "
            f"{', '.join(names)[:300]}. Name one column {', '.join(ADDRESS_NAMES)}."
        )
    names.pop(at)
    for i, name in enumerate(names):
        if not name or name in names[:i]:
            raise InvalidInputError(
                f"The header's column “{name}” has no name or the name of another; "
                "give each column a name of its own.",
                field=name,
            )
    return names, at


def _ndjson_rows(chunks: Iterable[bytes]) -> Iterator[_Rows]:
    lines = _Lines(chunks)
    rows = _Rows()
    for text in lines:
        lines.record_size = 0
        if text.isspace():
            continue
        try:
            item = orjson.loads(text)
        except orjson.JSONDecodeError:
            rows.invalid.append((lines.count, "The line is not JSON."))
        else:
            _add(rows, lines.count, item)
        if rows.is_full():
            yield rows
            rows = _Rows()
    yield rows


def _json_rows(chunks: Iterable[bytes]) -> Iterator[_Rows]:
    rows = _Rows()
    for number, item in enumerate(_json_array(chunks), start=1):
        _add(rows, number, item)
        if rows.is_full():
            yield rows
            rows = _Rows()
    yield rows


def _json_array(chunks: Iterable[bytes]) -> list[Any]:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise InvalidInputError(
                f"The JSON array is larger than {MAX_JSON_BYTES:,} bytes; "
                "send NDJSON or CSV, which have no such limit."
            )
    if not body.strip():
        return []
    try:
        found = orjson.loads(body.removeprefix(_BOM))
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"Line {error.lineno} is not JSON.") from error
    if not isinstance(found, list):
        raise InvalidInputError("The JSON must be an array of objects.")
    return found


def _add(rows: _Rows, line: int, item: Any) -> None:
    """Put one JSON object into the block."""
    if not isinstance(item, dict):
        rows.invalid.append((line, "The row is not a JSON object."))
        return
    name = next((n for n in ADDRESS_NAMES if n in item), "")
    address = item.pop(name, None)
    own = item.pop("variables", {})
    if not isinstance(address, str):
        rows.invalid.append((line, "The row has no address."))
    elif not isinstance(own, dict):
        rows.invalid.append((line, "The row's variables are not an object."))
    else:
        rows.lines.append(line)
        rows.addresses.append(address)
        rows.variables.append({**item, **own} if own else item)


def _checked(rows: _Rows, channel: Channel) -> Block:
    """Return the block with its addresses judged and its variables as JSON."""
    addresses = spelled(rows.addresses, channel)
    good = are_good(addresses, channel)
    variables = [text.decode() for text in map(orjson.dumps, rows.variables)]
    names = frozenset().union(*rows.variables) if rows.names is None else rows.names
    block = Block(invalid=sorted(rows.invalid), names=names)
    # Postgres' text cannot hold the character that JSON writes as \u0000.
    if all(good) and "\\u0000" not in "".join(variables):
        block.lines.extend(rows.lines)
        block.addresses.extend(addresses)
        block.variables.extend(variables)
        return block
    for is_good, line, address, text in zip(
        good, rows.lines, addresses, variables, strict=True
    ):
        if not is_good:
            block.invalid.append((line, WRONG_ADDRESS[channel]))
        elif _NUL.search(text):
            block.invalid.append((line, "A variable holds the character NUL."))
        else:
            block.lines.append(line)
            block.addresses.append(address)
            block.variables.append(text)
    block.invalid.sort()
    return block


#: A NUL as JSON writes it: not a backslash that is itself escaped.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
