"""One child process with a life: started, ready, stopped, killed, paused."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from embedded.data_dir import is_free
from embedded.forking import forked
from models.errors import BatchSenderError

_LEASH = Path(__file__).with_name("leash.py")
_LOG_TAIL_BYTES = 2_000


class StartError(BatchSenderError):
    """A process did not come up; its text says what to do, then shows its log."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run, and how to tell that it is ready.

    Attributes:
        name: What people and log files call it.
        argv: The program and its arguments; no secret, since anyone may list them.
        log_path: Where its output is appended.
        ready: Whether it serves; asked until it does, so it must return within 1 s.
        port: The loopback port it listens on; None when it does not listen.
        env: Added to our own environment.
        cwd: Where it runs; ours when None.
        prefix: A program that runs another one, such as `unshare … --`.
        uid: The user and group it runs as; ours when None.
        stop_signal: Asks it to end in order.
        restart: Whether the supervisor starts it again when it dies.
        start_timeout_s: How long it may take to be ready.
        stop_timeout_s: How long it may take to end before it is killed.
    """

    name: str
    argv: Sequence[str]
    log_path: Path
    ready: Callable[[], bool]
    port: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    prefix: Sequence[str] = ()
    uid: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    restart: bool = True
    start_timeout_s: float = 30.0
    stop_timeout_s: float = 10.0


class Process:
    """A child with its own session, which also ends when we are killed.

    Any thread may call it. It can be started again after it ended.
    """

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        # Whoever starts it again must not meet whoever is ending it.
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        """What people call it."""
        return self.spec.name

    @property
    def pid(self) -> int | None:
        """Its process id; None when it was never started or has been stopped."""
        return self._child.pid if self._child else None

    @property
    def running(self) -> bool:
        """Whether it lives; a paused process does."""
        return self._child is not None and self._child.poll() is None

    @property
    def died(self) -> bool:
        """Whether it ended though nobody here asked it to."""
        return self._child is not None and self._child.poll() is not None

    @property
    def exit_code(self) -> int | None:
        """How it ended by itself, negative for a signal; None while it runs."""
        return self._child.poll() if self._child else None

    def prepare(self) -> None:
        """Do what must be done before each start; a server overrides it."""

    def start(self) -> None:
        """Start it and wait until it is ready; nothing happens when it runs.

        Raises:
            StartError: It died or was not ready in time; nothing is left running.
        """
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start it without waiting; nothing happens when it runs.

        Raises:
            StartError: It cannot even be started.
        """
        with self._lock:
            if not self.running:
                self._claim_port()
                self.prepare()
                self._launch()

    def _claim_port(self) -> None:
        # Else whoever has it might answer in our place and pass for ready.
        port = self.spec.port
        if port is not None and not is_free(port):
            raise StartError(
                f"{self.name} cannot start because port {port} is taken:"
                " end the program that uses it, or choose another port."
            )

    def revive(self) -> None:
        """Start it again when it died, without waiting; ends what it left behind.

        Raises:
            StartError: It cannot even be started.
        """
        with self._lock:
            if self.died and self._child:
                _kill_group(self._child.pid)
                self.launch()

    def _launch(self) -> None:
        self.spec.log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.spec.log_path.open("ab") as log:
            self._log_start = log.tell()
            try:
                self._child = forked(lambda: self._popen(log.fileno()))
            except OSError as error:
                raise StartError(
                    f"{self.name} cannot be started: {error.strerror}."
                    f" Check that {error.filename} is installed and may be executed."
                ) from error

    def _popen(self, log: int) -> subprocess.Popen[bytes]:
        leash = (sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()))
        uid = "" if self.spec.uid is None else str(self.spec.uid)
        at_death = str(int(self.spec.stop_signal))
        return subprocess.Popen(
            [*self.spec.prefix, *leash, at_death, uid, *self.spec.argv],
            cwd=self.spec.cwd,
            env={**os.environ, **self.spec.env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def wait_ready(self) -> None:
        """Wait until it serves.

        Raises:
            StartError: It died or was not ready in time; nothing is left running.
        """
        deadline = time.monotonic() + self.spec.start_timeout_s
        pause_s = 0.005
        while not (self.running and self.spec.ready()):
            if not self.running:
                self._give_up("ended at once")
            if time.monotonic() > deadline:
                self._give_up(f"was not ready in {self.spec.start_timeout_s:.0f} s")
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.05)

    def _give_up(self, what: str) -> None:
        code = self.exit_code
        self.kill()
        ended = "" if code is None else f" (exit code {code})"
        tail = self.log_tail()
        raise StartError(
            f"{self.name} {what}{ended}: {_advice(tail)}"
            f" The end of {self.spec.log_path}:\n{tail}"
        )

    def log_tail(self) -> str:
        """Return the last lines it wrote since it was last started."""
        with contextlib.suppress(FileNotFoundError), self.spec.log_path.open("rb") as f:
            size = f.seek(0, os.SEEK_END)
            f.seek(max(self._log_start, size - _LOG_TAIL_BYTES))
            return f.read().decode(errors="replace").strip()
        return ""

    def stop(self) -> None:
        """End it in order, or by force after its time; again does nothing."""
        with self._lock:
            child, family = self._child, self.family()
            if child is not None and child.poll() is None:
                child.send_signal(self.spec.stop_signal)
                # Who is paused would hear us only when it wakes.
                _signal_all(family, signal.SIGCONT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(self.spec.stop_timeout_s)
            self._end(family)

    def kill(self) -> None:
        """End it and its children at once, as a power cut would; again does nothing."""
        with self._lock:
            self._end(self.family())

    def _end(self, family: Sequence[psutil.Process]) -> None:
        child = self._child
        if child is None:
            return
        if child.poll() is None:
            child.kill()
        _signal_all(family, signal.SIGKILL)
        # Whoever was born since then is still in the group.
        _kill_group(child.pid)
        child.wait()
        for member in family:
            gone(member, timeout_s=5.0)
        self._child = None

    def restart(self) -> None:
        """Stop it in order and start it again, at the same place.

        Raises:
            StartError: As for `start`.
        """
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it with its children; its connections stay open and silent."""
        _signal_all(self.family(), signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        _signal_all(self.family(), signal.SIGCONT)

    def family(self) -> list[psutil.Process]:
        """Return the process and all its descendants that live now."""
        if not self.running or self.pid is None:
            return []
        try:
            parent = psutil.Process(self.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu_seconds(self) -> float:
        """Return the CPU time spent since the start, by it and all its children."""
        total = 0.0
        for member in self.family():
            with contextlib.suppress(psutil.Error):
                times = member.cpu_times()
                total += times.user + times.system
                total += times.children_user + times.children_system
        return total

    def rss_bytes(self) -> int:
        """Return the memory it holds with its children, a shared page counted once."""
        return sum(_memory_bytes(member) for member in self.family())


def gone(process: psutil.Process, *, timeout_s: float) -> bool:
    """Wait until a process, not only a child of ours, has ended; False if it has not.

    One that only waits for its parent to take notice has ended.
    """
    deadline = time.monotonic() + timeout_s
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
    return True


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _memory_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
    except psutil.AccessDenied:
        # Another user's pages are not ours to look at; shared ones count twice then.
        return int(process.memory_info().rss)


def _signal_all(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


#: What a log says → what to do about it.
_ADVICE = {
    "no space left": "free some space on this disk, then start again.",
    "address already in use": "its port was taken; end that program, start again.",
    "no such file": "something is not installed; run `make`.",
    "permission denied": "it may not read or write its files; check their owner.",
    "cannot allocate memory": "this machine has too little memory free.",
    "cannot be run as root": "run BatchSender as an ordinary user.",
}


def _advice(log: str) -> str:
    found = (say for sign, say in _ADVICE.items() if sign in log.lower())
    return next(found, "its log tells why.")
