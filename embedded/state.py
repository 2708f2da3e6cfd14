"""What other shells may know of a running stack: `<data>/state.json`."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from embedded.data_dir import write_private
from embedded.process import gone
from models.errors import BatchSenderError


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """A process that no later one with the same number can be mistaken for.

    Attributes:
        pid: Its number.
        created_s: When it began, as the system says it, in seconds since 1970.
    """

    pid: int
    created_s: float

    def found(self) -> psutil.Process | None:
        """Return it while it lives."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created_s) < 1.0
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


@dataclass(frozen=True, slots=True)
class State:
    """A stack that is up, or was when its supervisor was killed.

    Attributes:
        supervisor: Who looks after it.
        started_at: When it was started, ISO 8601 with its zone.
        urls: The environment of our processes; holds passwords.
        ports: By the name of who listens.
        processes: By name, servers and services.
        restarts: How often each was started again after it died.
    """

    supervisor: RunningProcess
    started_at: str
    urls: Mapping[str, str]
    ports: Mapping[str, int]
    processes: Mapping[str, RunningProcess]
    restarts: Mapping[str, int]

    def save(self, data_dir: Path) -> None:
        """Write it, readable only by its owner."""
        write_private(data_dir / "state.json", json.dumps(asdict(self), indent=2))


def identify(pid: int | None) -> RunningProcess | None:
    """Return who has this number now; None when nobody has."""
    if pid is None:
        return None
    with contextlib.suppress(psutil.NoSuchProcess):
        return RunningProcess(pid, psutil.Process(pid).create_time())
    return None


def read_state(data_dir: Path) -> State | None:
    """Return what the last supervisor wrote, whether it still lives or not."""
    try:
        raw = json.loads((data_dir / "state.json").read_text())
    except FileNotFoundError:
        return None
    processes = {name: RunningProcess(**who) for name, who in raw["processes"].items()}
    supervisor = RunningProcess(**raw["supervisor"])
    return State(**raw | {"supervisor": supervisor, "processes": processes})


def running_state(data_dir: Path) -> State | None:
    """Return the state of a stack that is up; None when it is down."""
    state = read_state(data_dir)
    return state if state and state.supervisor.found() else None


def forget_state(data_dir: Path) -> None:
    """Remove the file; again does nothing."""
    (data_dir / "state.json").unlink(missing_ok=True)


def down(data_dir: Path, *, timeout_s: float = 90.0) -> bool:
    """Ask the supervisor to stop everything and wait for it; False when none is up.

    Raises:
        BatchSenderError: It did not end in time.
    """
    state = running_state(data_dir)
    supervisor = state.supervisor.found() if state else None
    if supervisor is None:
        end_leftovers(data_dir)
        return False
    supervisor.send_signal(signal.SIGTERM)
    if not gone(supervisor, timeout_s=timeout_s):
        raise BatchSenderError(
            f"BatchSender did not stop in {timeout_s:.0f} s:"
            f" see the logs in {data_dir / 'logs'}, or end process {supervisor.pid}."
        )
    return True


def end_leftovers(data_dir: Path, *, grace_s: float = 5.0) -> None:
    """End what a killed supervisor left behind; again does nothing.

    Its children were told to end when it died; who does not in time is killed.
    """
    state = read_state(data_dir)
    if state is None or (state.supervisor.found() and not _is_us(state)):
        return
    left = [process for who in state.processes.values() if (process := who.found())]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + grace_s
    for process in left:
        if not gone(process, timeout_s=deadline - time.monotonic()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
            gone(process, timeout_s=grace_s)
    forget_state(data_dir)


def _is_us(state: State) -> bool:
    return state.supervisor.pid == os.getpid()
