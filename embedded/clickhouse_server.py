"""ClickHouse: the engine of the wheel chdb-core behind our own HTTP endpoint."""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from embedded.data_dir import write_private
from embedded.network import answers_http
from embedded.process import Process, ProcessSpec, StartError

_USER = "batchsender"
_DATABASE = "batchsender"
_CONFIG = """\
<clickhouse>
  <max_server_memory_usage>{memory_bytes}</max_server_memory_usage>
</clickhouse>
"""


class ClickHouseServer(Process):
    """One engine whose data are in `<data>/clickhouse`.

    Args:
        data_dir: Of the whole stack.
        port: Where it listens, on loopback.
        password: Of its only user.
        memory_bytes: More than this it refuses to take, query by query.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int,
        password: str,
        *,
        memory_bytes: int = 2 * 1024**3,
    ) -> None:
        if find_spec("chdb") is None:
            raise StartError("chdb-core is missing: run `make` to install it.")
        self._home = data_dir.absolute() / "clickhouse"
        self.port = port
        self.url = f"http://{_USER}:{password}@127.0.0.1:{port}/{_DATABASE}"
        self._password = password
        self._password_path = data_dir.absolute() / "clickhouse.password"
        self._config = _CONFIG.format(memory_bytes=memory_bytes)
        self._config_path = data_dir.absolute() / "clickhouse.xml"
        super().__init__(
            ProcessSpec(
                name="clickhouse",
                argv=self._command(),
                # There the package is found, installed or not.
                cwd=Path(__file__).absolute().parent.parent,
                port=port,
                log_path=data_dir / "logs" / "clickhouse.log",
                ready=lambda: answers_http(port, "/ping"),
            )
        )

    def _command(self) -> tuple[str, ...]:
        return (
            *(sys.executable, "-m", "embedded.clickhouse_endpoint"),
            f"--path={self._home}",
            f"--port={self.port}",
            f"--database={_DATABASE}",
            f"--config-file={self._config_path}",
            f"--user={_USER}",
            f"--password-file={self._password_path}",
        )

    def prepare(self) -> None:
        """Write its configuration and its password, which only we may read."""
        write_private(self._config_path, self._config)
        write_private(self._password_path, self._password)

    def wipe(self) -> None:
        """Kill it and throw its data away; it starts empty."""
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)
