"""A file of recipients, cut between records into parts that are uploaded one by one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from models.addresses import Channel
from models.errors import InvalidInputError
from models.recipients import MAX_ROW_BYTES, Format, read

#: Large enough to make the upload one stream of COPY, small enough to repeat.
PART_BYTES = 8_000_000

_FORMATS = {".csv": Format.CSV, ".ndjson": Format.NDJSON, ".jsonl": Format.NDJSON}
#: How a part is sent.
CONTENT_TYPES = {Format.CSV: "text/csv", Format.NDJSON: "application/x-ndjson"}
# The quote rules are those of `models.recipients`: a quote opens a field only as its
# first character, a doubled one inside is text, and after the closing one the field
# ends, or else the row is invalid and the next line begins another.
_OPENING = re.compile(rb'(?:^(?:\xef\xbb\xbf)?|,)"')
_CLOSING = re.compile(rb'(?:[^"]|"")*+"')
_AFTER_CLOSING = re.compile(rb"[,\r\n]|\Z")


@dataclass(frozen=True, slots=True)
class Part:
    """Whole records of a file, as one request carries them.

    Attributes:
        number: Its place in the file, from 1.
        body: The records; in CSV the header stands before them in every part.
        line_offset: What to add to a line of this part to have the file's line.
    """

    number: int
    body: bytes
    line_offset: int


@dataclass(frozen=True, slots=True)
class RecipientFile:
    """A CSV or NDJSON file on disk; nothing of it is held but one part at a time.

    Attributes:
        path: Where it is.
        format: How it is written, known by its ending.
    """

    path: Path
    format: Format

    @property
    def content_type(self) -> str:
        """Return what its parts are sent as."""
        return CONTENT_TYPES[self.format]

    @classmethod
    def at(cls, path: Path) -> "RecipientFile":
        """Return the file, read through once, so that nothing bad is half sent.

        Raises:
            InvalidInputError: It is missing, of another kind, empty, not UTF-8, has no
                address column, or a record of more than 1 MB; the line is named.
        """
        known = _FORMATS.get(path.suffix.lower())
        if known is None:
            raise InvalidInputError(
                f"{path} is neither .csv nor .ndjson; name a file that is."
            )
        file = cls(path, known)
        for part in file.parts():
            _check_text(path, part)
        # A header without an address is found here, before a batch is made.
        file.names()
        return file

    def names(self) -> frozenset[str]:
        """Return the variables of the first rows, which in CSV are those of all.

        Raises:
            InvalidInputError: The API could not read them; there is no address column.
        """
        part = next(self.parts())
        blocks = read([part.body], upload_format=self.format, channel=Channel.WEBHOOK)
        return next(blocks).names

    def parts(self, *, part_bytes: int = PART_BYTES) -> Iterator[Part]:
        """Yield the parts in order, the same ones every time.

        Args:
            part_bytes: Where a part ends: with the record that reaches it.

        Raises:
            InvalidInputError: As for `at`, except that the text is not decoded.
        """
        with _opened(self.path) as file:
            records = _lines(file)
            header = _Record(b"", 0)
            if self.format is Format.CSV:
                records = _csv_records(records)
                header = next(records, header)
            empty = True
            for part in _grouped(records, header, part_bytes):
                empty = False
                yield part
        if empty:
            raise InvalidInputError(
                f"{self.path} holds no recipient; put one on each line"
                f"{' below the header' if header.lines else ''}."
            )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise InvalidInputError(f"There is no file {path}; check the name.") from error
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read ({error.strerror}); name a file you may read."
        ) from error


class _Record(NamedTuple):
    """One record with its line end, and how many lines of the file it takes."""

    body: bytes
    lines: int


def _lines(file: BinaryIO) -> Iterator[_Record]:
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        if len(line) > MAX_ROW_BYTES:
            raise _too_large(number)
        yield _Record(line, 1)


def _too_large(first_line: int) -> InvalidInputError:
    return InvalidInputError(
        f"The record that begins at line {first_line} is larger than 1 MB; "
        "shorten it, or close the quote that is open there."
    )


def _csv_records(lines: Iterator[_Record]) -> Iterator[_Record]:
    body, taken, first_line, quoted = bytearray(), 0, 1, False
    for line in lines:
        if not quoted and b'"' not in line.body:
            first_line += 1
            yield line
            continue
        quoted = _ends_quoted(line.body, quoted=quoted)
        body += line.body
        taken += 1
        if len(body) > MAX_ROW_BYTES:
            raise _too_large(first_line)
        if not quoted:
            yield _Record(bytes(body), taken)
            body, first_line, taken = bytearray(), first_line + taken, 0
    if body:
        yield _Record(bytes(body), taken)


def _ends_quoted(line: bytes, *, quoted: bool) -> bool:
    """Tell whether the next line belongs to a quoted field that began by now."""
    position = 0
    while True:
        found = (_CLOSING.match if quoted else _OPENING.search)(line, position)
        if found is None:
            return quoted
        position, quoted = found.end(), not quoted
        if not quoted and not _AFTER_CLOSING.match(line, position):
            return False


def _grouped(
    records: Iterator[_Record], header: _Record, part_bytes: int
) -> Iterator[Part]:
    number, offset = 1, 0
    body, size, lines, filled = [header.body], len(header.body), 0, False
    for record in records:
        body.append(record.body)
        size += len(record.body)
        lines += record.lines
        filled = filled or not record.body.isspace()
        if size >= part_bytes and filled:
            yield Part(number, b"".join(body), offset)
            number, offset = number + 1, offset + lines
            body, size, lines, filled = [header.body], len(header.body), 0, False
    if filled:
        yield Part(number, b"".join(body), offset)


def _check_text(path: Path, part: Part) -> None:
    try:
        part.body.decode()
    except UnicodeDecodeError as error:
        line = part.body.count(b"\n", 0, error.start) + 1 + part.line_offset
        raise InvalidInputError(
            f"Line {line} of {path} is not UTF-8; save the file in that encoding."
        ) from error
