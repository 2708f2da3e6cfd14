"""The connection to Dragonfly, the scripts that run there, and its one error."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha1
from importlib.resources import files
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError
from redis.retry import Retry

from hot_state import keys
from models.errors import NeighbourUnavailableError

#: A server that is away, still loads its data, was made a replica, or is full: to
#: the caller it is the same, the call may work later.
_AWAY = (
    redis.ConnectionError,
    redis.TimeoutError,
    ReadOnlyError,
    OutOfMemoryError,
)

_IDS = re.compile(rb"^(run_id|master_replid):(\w+)", re.MULTILINE)


def connect(url: str, *, timeout_s: float = 1.0) -> redis.Redis:
    """Return a client that connects when it is first used, and tries once.

    Every new connection tells Dragonfly which run of the server it has met, so that
    token buckets of an earlier run are known before the first of them is used.

    Args:
        url: Such as `redis://host:6379/0`.
        timeout_s: The longest a connection or an answer may take, in seconds.
    """
    return redis.Redis.from_url(
        url,
        decode_responses=False,
        protocol=2,
        redis_connect_func=_greet,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
    )


@contextmanager
def answering() -> Iterator[None]:
    """Turn the ways in which Dragonfly does not answer into one error.

    Raises:
        NeighbourUnavailableError: The call may or may not have been carried out.
    """
    try:
        yield
    except _AWAY as error:
        raise NeighbourUnavailableError(
            "Dragonfly does not answer: check that it runs, is a primary, and has room."
        ) from error


def ask(client: redis.Redis, *command: str | bytes | float) -> Any:
    """Return the answer to one command.

    Raises:
        NeighbourUnavailableError: The call may or may not have been carried out.
    """
    # The library leaves this method without types; this is its one door.
    untyped: Any = client
    with answering():
        return untyped.execute_command(*command)


class Script:
    """One Lua file, run by its hash and sent whole only where it is not known.

    Attributes:
        name: The file's name without `.lua`.
        text: What the file holds, after what the script begins with.
    """

    def __init__(self, name: str, *, after: Sequence[str] = ()) -> None:
        """Read the file, and before it those that hold what it calls."""
        folder = files("hot_state.scripts")
        self.name = name
        self.text = b"".join(
            (folder / f"{part}.lua").read_bytes() for part in (*after, name)
        )
        self._sha = sha1(self.text, usedforsecurity=False).hexdigest()

    def run(
        self,
        client: redis.Redis,
        names: Sequence[str],
        arguments: Sequence[Any],
    ) -> Any:
        """Return the script's answer; the file's head tells what it is.

        Raises:
            NeighbourUnavailableError: The step was carried out wholly or not at all.
        """
        given = (len(names), *names, *arguments)
        try:
            return ask(client, "EVALSHA", self._sha, *given)
        except NoScriptError:
            return ask(client, "EVAL", self.text, *given)


_MARK = Script("mark_lifetime")


def mark_lifetime(client: redis.Redis) -> None:
    """Tell Dragonfly again which run it is, after its memory was wiped.

    Raises:
        NeighbourUnavailableError: Dragonfly does not answer.
    """
    info = ask(client, "INFO")
    run = _run(info.get("run_id", ""), info.get("master_replid", ""))
    _MARK.run(client, [keys.LIFETIME], [run, keys.LIFETIME_TTL_S])


def _run(*ids: str) -> str:
    # The process's own id changes with a restart, the replication id with a
    # promotion; Dragonfly gives only the latter. It also rewrites text that reads
    # as a number, which a first letter prevents.
    return "-".join(("run", *ids))


def _greet(connection: Any) -> None:
    connection.on_connect()
    connection.send_command("INFO")
    info = dict(_IDS.findall(connection.read_response()))
    run = _run(
        *(info.get(name, b"").decode() for name in (b"run_id", b"master_replid"))
    )
    arguments = (1, keys.LIFETIME, run, keys.LIFETIME_TTL_S)
    connection.send_command("EVAL", _MARK.text, *arguments)
    connection.read_response()
