"""Everything together, as `batchsender up` runs it, seen from another shell."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from embedded.stack import Stack
from embedded.state import State, down, read_state, running_state
from models.errors import ConflictError

_PROGRAM = """
import sys
from pathlib import Path
from embedded.process import ProcessSpec
from embedded.stack import Stack
from embedded.supervisor import Supervisor

data = Path(sys.argv[1])
stack = Stack(data, names=("dragonfly", "nats"))
service = ProcessSpec("service", ("sleep", "60"), data / "log", ready=lambda: True)
with Supervisor(stack, data, {"web": 1234}) as supervisor:
    supervisor.start_services([service])
    supervisor.wait()
"""


def _eventually(happened: Callable[[], object], *, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A supervisor in a process of its own; two servers and a service are up."""
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM, tmp_path])
    _eventually(
        lambda: "service" in _state(tmp_path).processes if _is_up(tmp_path) else 0
    )
    yield process
    process.kill()
    process.wait()
    down(tmp_path)


def _is_up(data_dir: Path) -> bool:
    return running_state(data_dir) is not None


def _state(data_dir: Path) -> State:
    state = read_state(data_dir)
    assert state is not None
    return state


def test_another_shell_stops_everything(
    up: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """`down` returns when all have ended in order; again it does nothing."""
    state = _state(tmp_path)
    assert state.ports["web"] == 1234
    assert state.urls["NATS_URL"].startswith("nats://")

    assert down(tmp_path)

    assert up.wait(5) == 0
    assert not [who for who in state.processes.values() if who.found()]
    assert read_state(tmp_path) is None
    assert not down(tmp_path)


@pytest.mark.usefixtures("up")
def test_who_dies_is_started_again(tmp_path: Path) -> None:
    """A service and a server come back, counted, with new process ids."""
    before = _state(tmp_path).processes
    for name in ("service", "dragonfly"):
        psutil.Process(before[name].pid).kill()

    _eventually(
        lambda: _state(tmp_path).restarts == {"dragonfly": 1, "nats": 0, "service": 1}
    )

    after = _state(tmp_path).processes
    assert after["service"] != before["service"]
    assert after["nats"] == before["nats"]


@pytest.mark.usefixtures("up")
def test_a_second_one_is_told_that_the_first_is_up(tmp_path: Path) -> None:
    """Nothing of the running one is touched."""
    before = _state(tmp_path)

    with pytest.raises(ConflictError, match="already up"):
        Stack(tmp_path)

    assert _state(tmp_path) == before


def test_a_killed_supervisor_leaves_nobody(
    up: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """Its children end by themselves and the directory can be used at once."""
    state = _state(tmp_path)
    up.send_signal(signal.SIGKILL)
    up.wait()

    with Stack(tmp_path, names=("dragonfly",)) as stack:
        assert stack.ports["dragonfly"] == state.ports["dragonfly"]
        assert not [who for who in state.processes.values() if who.found()]
