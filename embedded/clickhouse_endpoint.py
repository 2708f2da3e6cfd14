"""ClickHouse's HTTP interface in front of the engine in this process.

Run as `python -m embedded.clickhouse_endpoint`. It is what clickhouse-connect needs,
unchanged: statements, parameters, settings of a query, INSERT streamed into the
engine, answers streamed out of it, errors with ClickHouse's numbers, a password,
`/ping`. It has no sessions: SET, USE and temporary tables do not outlive a request.
Bodies may be compressed; answers are not, since they only cross loopback.
"""

import argparse
import logging
import secrets
import signal
import socketserver
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from embedded.clickhouse_engine import Engine, Handle, Summary, query_error
from embedded.clickhouse_request import (
    Body,
    QueryError,
    Request,
    is_authorised,
    query_parameters,
    read_request,
)

_LOG = logging.getLogger(__name__)
_STREAMED = {"Native", "TabSeparated", "TSV", "CSV", "RowBinary", "JSONEachRow"}
_STOP_S = 5.0
#: ClickHouse's number → HTTP status; any other is 500, as there.
_STATUS = {516: 403} | dict.fromkeys((16, 46, 47, 60, 81), 404)
_STATUS |= dict.fromkeys((27, 36, 43, 53, 62, 115, 386), 400)


class Endpoint(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens on loopback, one thread a connection.

    Args:
        port: Where it listens.
        engine: Answers.
        database: The default one.
        user: The only user.
        password: Theirs.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(
        self, port: int, engine: Engine, *, database: str, user: str, password: str
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.engine = engine
        self.database = database
        self.user = user
        self.password = password


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: Endpoint
    _headers: Mapping[str, str] = {}
    _begun = False

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name)
        _LOG.debug(format, *args)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/ping" or not url.query:
            self._reply(200, b"Ok.\n", {})
        else:
            self.do_POST()

    def do_POST(self) -> None:
        summary = Summary(began_s=time.perf_counter())
        params = query_parameters(urlsplit(self.path).query)
        self._headers = {
            "X-ClickHouse-Query-Id": params.get("query_id") or str(uuid.uuid4()),
            "X-ClickHouse-Exception-Tag": secrets.token_hex(8),
            "X-ClickHouse-Server-Display-Name": "embedded",
            "X-ClickHouse-Timezone": self.server.engine.timezone,
        }
        self._begun = False
        try:
            self._authorise(params)
            body = Body(self.rfile, self.headers)
            request = read_request(
                params, self.headers, body, database=self.server.database
            )
            self._answer(request, summary)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except QueryError as error:
            self._refuse(error)
        except (RuntimeError, ValueError) as error:
            self._refuse(query_error(error))

    def _authorise(self, params: dict[str, str]) -> None:
        user, password = self.server.user, self.server.password
        if not is_authorised(params, self.headers, user=user, password=password):
            raise QueryError(516, "Authentication failed. (AUTHENTICATION_FAILED)")

    def _answer(self, request: Request, summary: Summary) -> None:
        with self.server.engine.lent(request) as handle:
            if request.data_format:
                handle.insert(request, summary)
                self._send(b"", "", summary)
            elif request.selects and request.answer_format in _STREAMED:
                self._stream(handle.stream(request), request.answer_format, summary)
            else:
                self._send_whole(handle, request, summary)

    def _send_whole(self, handle: Handle, request: Request, summary: Summary) -> None:
        # A statement without an answer prints nothing, an answer at least its names:
        # so they are told apart where no format was asked for.
        named = not request.answer_format and not request.inserts
        form = "TabSeparatedWithNames" if named else request.answer_format
        result = handle.query(request, form or "TabSeparated")
        data: bytes = result.bytes() or b""
        form = request.answer_format
        if named and data:
            form, data = "TabSeparated", data[data.index(b"\n") + 1 :]
        rows = result.rows_read()
        if request.inserts:
            summary.written_rows = rows
        else:
            summary.read_rows = rows
        self._send(data, form, summary)

    def _send(self, data: bytes, form: str, summary: Summary) -> None:
        headers = {"X-ClickHouse-Summary": summary.json}
        if form:
            headers["X-ClickHouse-Format"] = form
        self._reply(200, data, headers)

    def _stream(self, blocks: Iterator[bytes], form: str, summary: Summary) -> None:
        # An error before the first block is still an ordinary answer.
        block = next(blocks, b"")
        self._begin(
            200,
            {
                "X-ClickHouse-Format": form,
                "X-ClickHouse-Summary": summary.json,
                "Transfer-Encoding": "chunked",
            },
        )
        self._begun = True
        while block:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
            block = next(blocks, b"")
        self.wfile.write(b"0\r\n\r\n")

    def _refuse(self, error: QueryError) -> None:
        # What is left of the body would be read as the next request.
        self.close_connection = True
        text = f"{error}\n".encode()
        if self._begun:
            self._break_stream(text)
            return
        code = {"X-ClickHouse-Exception-Code": str(error.code), "Connection": "close"}
        self._reply(_STATUS.get(error.code, 500), text, code)

    def _break_stream(self, text: bytes) -> None:
        # As a server of 25.11 and later: the error stands between tags that were
        # announced in a header, and the last chunk is missing.
        tag = self._headers["X-ClickHouse-Exception-Tag"].encode()
        end = b"\r\n__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n"
        end %= (tag, text, len(text), tag)
        self.wfile.write(b"%x\r\n%b\r\n" % (len(end), end))

    def _reply(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self._begin(status, {**headers, "Content-Length": str(len(data))})
        self.wfile.write(data)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in {**self._headers, **headers}.items():
            self.send_header(name, value)
        self.end_headers()


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then end the engine in order."""
    options = _options().parse_args(arguments)
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(message)s")
    engine = Engine(
        options.path,
        options.config_file,
        database=options.database,
        handles=options.handles,
    )
    endpoint = Endpoint(
        options.port,
        engine,
        database=options.database,
        user=options.user,
        password=options.password_file.read_text().strip(),
    )

    def stop(*_: object) -> None:
        # It waits for the loop below, which is in this very thread.
        threading.Thread(target=endpoint.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    endpoint.serve_forever(poll_interval=0.1)
    endpoint.socket.close()
    engine.close(timeout_s=_STOP_S)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="embedded.clickhouse_endpoint")
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--config-file", type=Path, required=True)
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--handles", type=int, default=8)
    return parser


if __name__ == "__main__":
    main()
