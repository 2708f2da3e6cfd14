"""Where the servers are, how to log in, and how to come back to them."""

import random
import ssl
from dataclasses import dataclass
from typing import Any

#: A server that stays silent for twice this long is given up.
PING_S = 5
#: The first and the longest pause between two attempts to reconnect.
BACKOFF_S = (0.02, 0.5)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where the servers are and how to log in.

    Attributes:
        servers: URLs of all servers of one cluster.
        name: What the server's monitoring calls this client.
        tls: For `tls://` URLs; none means the system's defaults.
        credentials: Path of a `.creds` file.
    """

    servers: tuple[str, ...]
    name: str
    tls: ssl.SSLContext | None = None
    credentials: str | None = None

    def for_client(self) -> dict[str, Any]:
        """Return nats-py's options: reconnect for ever, notice a silent server."""
        return {
            "servers": list(self.servers),
            "name": self.name,
            "tls": self.tls,
            "user_credentials": self.credentials,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.1,
            "reconnect_to_server_handler": _next_server,
            "connect_timeout": 2,
            "ping_interval": PING_S,
            "max_outstanding_pings": 2,
            # Ours are made of checked tokens.
            "skip_subject_validation": True,
        }


def _next_server(servers: list[Any], _: dict[str, Any]) -> tuple[Any, float]:
    server = min(servers, key=lambda one: one.reconnects)
    first, longest = BACKOFF_S
    pause_s = min(longest, first * 1.5 ** min(server.reconnects, 20))
    return server, pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads reconnects, hides nothing
