"""What a client of ClickHouse's HTTP interface asks for.

Source: https://clickhouse.com/docs/interfaces/http, as far as clickhouse-connect
uses it.
"""

import base64
import hmac
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from io import BufferedIOBase
from typing import IO
from urllib.parse import parse_qsl

import lz4.frame

from models.errors import BatchSenderError

_READ_BYTES = 1 << 20
#: An INSERT's own text is shorter than this; data begin right after it.
_HEAD_BYTES = 1 << 16

#: Parameters about the transport; any other one is a setting of the query.
_TRANSPORT = frozenset(
    (
        "query",
        "database",
        "user",
        "password",
        "quota_key",
        "role",
        "session_id",
        "session_timeout",
        "session_check",
        "close_session",
        "query_id",
        "compress",
        "decompress",
        "wait_end_of_query",
        "buffer_size",
        "client_protocol_version",
        "default_format",
        "stacktrace",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "enable_http_compression",
        "http_zlib_compression_level",
        "cancel_http_readonly_queries_on_client_close",
        "http_write_exception_in_output_format",
    )
)
_BLANK = rb"(?:\s+|--[^\n]*\n|/\*.*?\*/)*"
_INSERT = re.compile(_BLANK + rb"INSERT\b", re.IGNORECASE | re.DOTALL)
_SELECT = re.compile(_BLANK + rb"(?:SELECT|WITH|\()", re.IGNORECASE | re.DOTALL)
_INSERT_DATA = re.compile(
    _BLANK
    + rb"(INSERT\s+INTO\s+(?:(?!\bSELECT\b|\bVALUES\b).)*?)"
    + rb"\s+FORMAT\s+(\w+)[ \t]*(?:\r?\n|$)",
    re.IGNORECASE | re.DOTALL,
)
_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_STATE = re.compile(
    _BLANK + rb"(?:SET|USE|CREATE\s+TEMPORARY)\b", re.IGNORECASE | re.DOTALL
)


class QueryError(BatchSenderError):
    """The query was refused; what the client is told.

    Attributes:
        code: ClickHouse's number for it.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text}")
        self.code = code


class Body:
    """The body of a request, decoded while it is read.

    It knows a length or chunks, and the encodings lz4, gzip and deflate.
    """

    def __init__(self, stream: IO[bytes] | BufferedIOBase, headers: Message) -> None:
        self._stream = stream
        self._chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
        self._left_bytes = int(headers.get("Content-Length") or 0)
        self._ended = not self._chunked and not self._left_bytes
        self._decoded = _decoder(headers.get("Content-Encoding", "").lower())

    @property
    def ended(self) -> bool:
        """Whether nothing is left to read."""
        return self._ended

    def pieces(self) -> Iterator[bytes]:
        """Yield what is left, piece by piece, none empty."""
        while not self._ended:
            piece = self._decoded(self._read())
            if piece:
                yield piece

    def whole(self) -> bytes:
        """Return what is left."""
        return b"".join(self.pieces())

    def head(self) -> bytes:
        """Return the beginning, as far as needed to tell an INSERT from its data."""
        head = b""
        for piece in self.pieces():
            head += piece
            if len(head) > _HEAD_BYTES or _INSERT_DATA.match(head):
                break
        return head

    def _read(self) -> bytes:
        if self._chunked:
            return self._read_chunk()
        data = self._stream.read(min(self._left_bytes, _READ_BYTES))
        self._left_bytes -= len(data)
        self._ended = self._left_bytes <= 0
        return self._complete(data, wanted=1)

    def _read_chunk(self) -> bytes:
        size = int(self._stream.readline(1024).split(b";")[0].strip() or b"0", 16)
        if size:
            data = self._stream.read(size)
            self._stream.readline(8)
            return self._complete(data, wanted=size)
        while self._stream.readline(8192).strip():
            pass
        self._ended = True
        return b""

    def _complete(self, data: bytes, *, wanted: int) -> bytes:
        if len(data) < wanted:
            self._ended = True
            raise ConnectionResetError("The client left in the middle of its data.")
        return data


def _decoder(encoding: str) -> Callable[[bytes], bytes]:
    match encoding:
        case "" | "identity":
            return bytes
        case "lz4":
            return _lz4_decoder()
        case "gzip":
            return zlib.decompressobj(wbits=31).decompress
        case "deflate":
            return zlib.decompressobj().decompress
    raise QueryError(1002, f"Unknown Content-Encoding {encoding}: use lz4 or gzip.")


def _lz4_decoder() -> Callable[[bytes], bytes]:
    frame = lz4.frame.LZ4FrameDecompressor()

    def decoded(data: bytes) -> bytes:
        nonlocal frame
        parts = []
        # A client may send one frame a block.
        while data:
            parts.append(frame.decompress(data))
            if not frame.eof:
                break
            data = frame.unused_data or b""
            frame = lz4.frame.LZ4FrameDecompressor()
        return b"".join(parts)

    return decoded


@dataclass(frozen=True, slots=True)
class Request:
    """One statement with all that came with it.

    Attributes:
        sql: The statement, for an INSERT with data without its FORMAT.
        data_format: The format of an INSERT's data; `""` for any other statement.
        data: The data, read while they arrive.
        database: The default one for names without any.
        settings: Settings of this query alone.
        binds: Values of `{name:Type}` in the statement.
        answer_format: What the answer has to be in; `""` when it was not said.
        changes_state: Whether the statement leaves something behind in its handle.
    """

    sql: str
    data_format: str
    data: Iterator[bytes]
    database: str
    settings: Mapping[str, str]
    binds: Mapping[str, str]
    answer_format: str
    changes_state: bool

    @property
    def selects(self) -> bool:
        """Whether it is a query whose answer the engine can stream."""
        return _SELECT.match(self.sql.encode(errors="surrogateescape")) is not None

    @property
    def inserts(self) -> bool:
        """Whether it is an INSERT, with data or from a query."""
        return _INSERT.match(self.sql.encode(errors="surrogateescape")) is not None


def read_request(
    params: dict[str, str], headers: Message, body: Body, *, database: str
) -> Request:
    """Return what is asked for; an INSERT's data are still to be read.

    Raises:
        QueryError: A parameter is not understood.
    """
    if headers.get("Content-Type", "").startswith("multipart/form-data"):
        params |= _form(headers, body)
    sql, first = _statement(params.get("query", "").encode(), body)
    insert = _INSERT_DATA.match(sql + b"\n") if first is not None else None
    asked = _FORMAT.search(sql[-200:])
    default = headers.get("X-ClickHouse-Format") or params.get("default_format", "")
    text = insert[1] if insert else sql
    return Request(
        sql=text.decode("utf-8", "surrogateescape"),
        data_format=insert[2].decode() if insert else "",
        data=_joined(first or b"", body),
        database=params.get("database")
        or headers.get("X-ClickHouse-Database")
        or database,
        settings=_settings(params),
        binds={k[6:]: v for k, v in params.items() if k.startswith("param_")},
        answer_format=asked[1].decode() if asked else default,
        changes_state=_STATE.match(sql) is not None,
    )


def _form(headers: Message, body: Body) -> dict[str, str]:
    head = b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n"
    form = BytesParser().parsebytes(head + body.whole())
    values = {}
    for part in form.walk():
        if part.is_multipart():
            continue
        if part.get_filename():
            raise QueryError(48, "External tables are not supported here.")
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        values[str(name)] = value.decode() if isinstance(value, bytes) else ""
    return values


def _statement(query: bytes, body: Body) -> tuple[bytes, bytes | None]:
    """Return the statement, and for an INSERT with data their beginning."""
    head = query or body.head()
    insert = _INSERT_DATA.match(head)
    if insert and (head[insert.end() :] or not body.ended or not query):
        return head[: insert.end()].rstrip(), head[insert.end() :]
    rest = body.whole()
    return (head + b"\n" + rest if query and rest else head + rest), None


def _joined(first: bytes, body: Body) -> Iterator[bytes]:
    if first:
        yield first
    yield from body.pieces()


def _settings(params: Mapping[str, str]) -> dict[str, str]:
    settings = {
        name: value
        for name, value in params.items()
        if name not in _TRANSPORT and not name.startswith("param_")
    }
    for name in settings:
        if not name.isidentifier() or not name.isascii():
            raise QueryError(115, f"Unknown setting {name}.")
    return settings


def query_parameters(query_string: str) -> dict[str, str]:
    """Return what is behind the question mark of the address."""
    return dict(parse_qsl(query_string, keep_blank_values=True))


def is_authorised(
    params: Mapping[str, str], headers: Message, *, user: str, password: str
) -> bool:
    """Whether the request names the user and the password, in any of three ways."""
    given_user = headers.get("X-ClickHouse-User") or params.get("user", "")
    given = headers.get("X-ClickHouse-Key") or params.get("password", "")
    kind, _, value = headers.get("Authorization", "").partition(" ")
    if kind == "Basic":
        try:
            given_user, _, given = base64.b64decode(value).decode().partition(":")
        except ValueError:
            return False
    same_user = hmac.compare_digest(given_user.encode(), user.encode())
    return hmac.compare_digest(given.encode(), password.encode()) and same_user
