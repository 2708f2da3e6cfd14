"""Whether somebody answers on a loopback port."""

import http.client
import socket

_TIMEOUT_S = 1.0


def answers(port: int, *, send: bytes = b"", expect: bytes = b"") -> bool:
    """Whether the first bytes that come back begin as expected."""
    try:
        with socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as connection:
            connection.sendall(send)
            return not expect or connection.recv(1024).startswith(expect)
    except OSError:
        return False


def answers_http(port: int, path: str) -> bool:
    """Whether GET of the path is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
