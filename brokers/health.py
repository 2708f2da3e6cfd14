"""Whether NATS is one that we can work with."""

import asyncio
import secrets
import ssl
from dataclasses import dataclass

from nats.errors import Error
from nats.js.api import AccountInfo
from nats.js.errors import ServiceUnavailableError

from brokers.client import Client
from brokers.errors import UnavailableError
from brokers.logins import silence
from brokers.servers import ServerOptions


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """What a NATS server says of itself.

    Attributes:
        version: Such as `(2, 14)`.
        stored_bytes: What JetStream holds for our account; None where it is off.
        most_bytes: What it may hold; None where the account has no limit.
        refuses: It took no message for want of room, when one was tried.
    """

    version: tuple[int, int]
    stored_bytes: int | None
    most_bytes: int | None
    refuses: bool = False

    @property
    def is_full(self) -> bool:
        """Tell whether it refuses, or has a twentieth of the account's room left."""
        if self.stored_bytes is None or self.most_bytes is None:
            return self.refuses
        return self.refuses or self.stored_bytes > 0.95 * self.most_bytes


def server_health(
    servers: str,
    *,
    tls: ssl.SSLContext | None = None,
    credentials: str | None = None,
    timeout_s: float = 2.0,
) -> ServerHealth:
    """Ask one of the servers, over a connection of its own.

    One message is stored in a stream of its own, which is removed again: a server's
    own limit, or its full disk, is told to nobody before it refuses.
    Servers and login are given as to `JetStreamBroker`.

    Raises:
        UnavailableError: None answers, or the user is refused.
    """
    options = ServerOptions(tuple(servers.split(",")), "health", tls, credentials)
    try:
        return asyncio.run(_asked(options, timeout_s))
    except (OSError, Error, TimeoutError) as error:
        raise UnavailableError(silence(error)) from error


async def _asked(options: ServerOptions, timeout_s: float) -> ServerHealth:
    once = {
        "connect_timeout": timeout_s,
        "allow_reconnect": False,
        "max_reconnect_attempts": 0,
        "error_cb": _ignore,
    }
    client = Client()
    await client.connect(**options.for_client() | once)
    try:
        version = client.connected_server_version
        account = await _account(client, timeout_s)
        refuses = account is not None and await _refuses(client, timeout_s)
    finally:
        await client.close()
    stored = most = None
    if account is not None:
        stored = account.storage
        most = account.limits.max_storage if account.limits.max_storage > 0 else None
    return ServerHealth((version.major, version.minor), stored, most, refuses)


async def _account(client: Client, timeout_s: float) -> AccountInfo | None:
    try:
        return await client.jetstream(timeout=timeout_s).account_info()
    except Error:
        return None


async def _refuses(client: Client, timeout_s: float) -> bool:
    jetstream = client.jetstream(timeout=timeout_s)
    name = f"health-{secrets.token_hex(8)}"
    try:
        await jetstream.add_stream(name=name, subjects=[name])
        try:
            await jetstream.publish(name, b"Is there room?")
        finally:
            await jetstream.delete_stream(name)
    except ServiceUnavailableError:
        return True
    except Error:
        # Who may not make a stream here cannot be told.
        return False
    return False


async def _ignore(_: Exception) -> None:
    """Keep quiet: the caller gets the error raised."""
