"""Whether anybody listens where a config's messages go."""

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from models.errors import BatchSenderError

#: How long an endpoint may take to take a connection, in seconds.
_PATIENCE_S = 3.0


def check_endpoint(api_url: str, config: dict[str, Any]) -> None:
    """Raise `BatchSenderError` when nobody listens at a custom config's address.

    Only where the API is on this machine: then what we cannot reach, its workers
    cannot either. Elsewhere they may well.
    """
    url = config["settings"].get("url")
    if not url or not _is_here(urlsplit(api_url).hostname or ""):
        return
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), _PATIENCE_S).close()
    except OSError as error:
        raise BatchSenderError(
            f"Nobody listens at {parts.hostname}:{port} ({error.strerror or error}), "
            f"where the config {config['name']} sends; start the endpoint, or "
            "`batchsender sink --port` to try, or make a config with another --url."
        ) from error


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
