"""Where the servers are, how to log in, and how to come back to them."""

import random
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from brokers.logins import Credentials, checked_seed

#: A server that stays silent for two to three times this long is given up. The others
#: need 4 to 9 s to elect in its place, so looking more often would gain nothing.
PING_S = 2
#: The first and the longest pause between two attempts to reconnect.
BACKOFF_S = (0.02, 0.5)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where the servers are and how to log in.

    Attributes:
        servers: URLs of all servers of one cluster; any may carry the login, as
            `user:password@` or `token@`, with reserved characters as in any URL.
        name: What the server's monitoring calls this client.
        tls: For `tls://` URLs; none means the system's defaults.
        credentials: Path of a `.creds` file; read at each login.
        nkey_seed: The seed of a user's NKey.

    Raises:
        ValueError: The seed is none.
    """

    servers: tuple[str, ...] = field(repr=False)
    name: str
    tls: ssl.SSLContext | None = None
    credentials: str | None = None
    nkey_seed: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse at once what no server will ever take."""
        if self.nkey_seed is not None:
            checked_seed(self.nkey_seed)

    def for_client(self) -> dict[str, Any]:
        """Return nats-py's options: reconnect for ever, notice a silent server."""
        return {
            "servers": [_without_login(url) for url in self.servers],
            "name": self.name,
            "tls": self.tls,
            **self._login(),
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.1,
            "connect_timeout": 2,
            "ping_interval": PING_S,
            "max_outstanding_pings": 2,
            # Ours are made of checked tokens.
            "skip_subject_validation": True,
        }

    def _login(self) -> dict[str, Any]:
        """Return the login for all servers, also those that a server names later."""
        if self.credentials is not None:
            file = Credentials(self.credentials)
            return {"user_jwt_cb": file.jwt, "signature_cb": file.signature}
        if self.nkey_seed is not None:
            return {"nkeys_seed_str": self.nkey_seed}
        for url in (urlsplit(_with_scheme(one)) for one in self.servers):
            if url.username and url.password is not None:
                name, password = unquote(url.username), unquote(url.password)
                return {"user": name, "password": password}
            if url.username:
                return {"token": unquote(url.username)}
        return {}


def _with_scheme(url: str) -> str:
    return url.strip() if "://" in url else f"nats://{url.strip()}"


def _without_login(url: str) -> str:
    """Return the URL as it may be logged."""
    scheme, separator, rest = _with_scheme(url).partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


class NextServer:
    """Chooses where to connect next: whoever failed least, and not to the lost one.

    A frozen machine still takes connections; trying it first would cost 2 s.
    """

    def __init__(self) -> None:
        self._last = ""

    def connected(self, url: Any) -> None:
        """Note where we are connected."""
        self._last = url.netloc if url else ""

    def __call__(self, servers: Sequence[Any], _: dict[str, Any]) -> tuple[Any, float]:
        """Return the server and how many seconds to wait before; for nats-py."""
        server = min(
            servers, key=lambda one: (one.reconnects, one.uri.netloc == self._last)
        )
        first, longest = BACKOFF_S
        pause_s = min(longest, first * 1.5 ** min(server.reconnects, 20))
        return server, pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads reconnects, hides nothing


def at_servers(
    servers: str | Sequence[str] | None,
    name: str,
    tls: ssl.SSLContext | None = None,
    credentials: str | None = None,
) -> ServerOptions | None:
    """Return how to reach the servers; none where none are given.

    Args:
        servers: One URL, or several of one cluster separated by commas or as a
            sequence.
        name: As in `ServerOptions`.
        tls: As in `ServerOptions`.
        credentials: As in `ServerOptions`.
    """
    if servers is None:
        return None
    urls = servers.split(",") if isinstance(servers, str) else servers
    return ServerOptions(tuple(urls), name, tls, credentials)
