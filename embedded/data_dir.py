"""What a data directory remembers: its ports, its passwords, and who is using it."""

import contextlib
import fcntl
import json
import os
import random
import secrets
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from models.errors import ConflictError

#: Below the range from which the kernel gives ports to outgoing connections, which
#: could otherwise take ours while a server is down.
_PORTS = range(20_000, 30_000)


def choose_ports(
    data_dir: Path, names: Iterable[str], *, explicit: Mapping[str, int]
) -> dict[str, int]:
    """Return a free loopback port for each name, the same ones every time.

    Ports are kept in `ports.json`. One that was taken meanwhile is replaced, unless
    somebody asked for exactly that one.

    Raises:
        ConflictError: An explicit port is taken; the text names it.
    """
    path = data_dir / "ports.json"
    remembered = _read(path)
    chosen = {
        name: explicit_port(name, explicit[name])
        if name in explicit
        else _free_port(remembered.get(name), avoid=set(remembered.values()))
        for name in names
    }
    # Two names given in one call must not get one port.
    for name, port in chosen.items():
        if name not in explicit and list(chosen.values()).count(port) > 1:
            chosen[name] = _free_port(None, avoid=set(chosen.values()))
    write_private(path, json.dumps(remembered | chosen, indent=2))
    return chosen


def explicit_port(name: str, port: int) -> int:
    """Return the port when it is free.

    Raises:
        ConflictError: It is taken.
    """
    if not is_free(port):
        raise ConflictError(
            f"Port {port}, asked for {name}, is taken:"
            " end the program that uses it, or ask for another port."
        )
    return port


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As servers do: connections of a former server that still linger do no harm.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port(preferred: int | None, *, avoid: set[int]) -> int:
    if preferred is not None and is_free(preferred):
        return preferred
    candidates = random.sample(_PORTS, 200)
    free = (port for port in candidates if port not in avoid and is_free(port))
    with contextlib.suppress(StopIteration):
        return next(free)
    raise ConflictError(
        f"No free port found from {_PORTS.start} to {_PORTS.stop}:"
        " end some servers, or give the ports yourself."
    )


def passwords(data_dir: Path, names: Iterable[str]) -> dict[str, str]:
    """Return a password for each name, made at the first call and kept for ever.

    They are in `passwords.json`, which only its owner may read.
    """
    path = data_dir / "passwords.json"
    known = _read(path)
    missing = {name: secrets.token_hex(16) for name in names if name not in known}
    if missing:
        write_private(path, json.dumps(known | missing, indent=2))
    return {name: (known | missing)[name] for name in names}


def write_private(path: Path, text: str) -> None:
    """Replace a file at one blow; only its owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(
        os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w"
    ) as f:
        f.write(text)
    draft.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}


class Lock:
    """One user of a data directory at a time; ends with the process at the latest."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "lock"
        self._file: int | None = None

    def acquire(self) -> None:
        """Take it; again does nothing.

        Raises:
            ConflictError: Another process, or another object here, has it.
        """
        if self._file is not None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(file)
            raise ConflictError(
                f"BatchSender is already up in {self._path.parent}:"
                " use it, end it with `batchsender down`, or name another directory."
            ) from error
        self._file = file

    def release(self) -> None:
        """Give it back; again does nothing."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
