"""Keeps the servers and our own processes running on one machine."""

import logging
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import psutil

from embedded.process import Process, ProcessSpec, StartError
from embedded.stack import Stack
from embedded.state import RunningProcess, State, forget_state, identify

_LOG = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.1
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
#: Who lived this long was healthy: its next death counts as the first.
_HEALTHY_S = 30.0


@dataclass(slots=True)
class _Watched:
    process: Process
    restarts: int = 0
    deaths_in_a_row: int = 0
    started_s: float = 0.0
    start_again_s: float | None = None


class Supervisor:
    """A stack and our services, started, watched and stopped together.

    Used as a context manager in the main thread. From its beginning SIGTERM counts
    as Ctrl-C: both raise KeyboardInterrupt wherever the caller is, and leaving the
    context stops everything. What dies is started again after 0.2 s, then ever
    later up to 5 s; what was stopped or killed through its `Process` stays down.

    Args:
        stack: Not yet started.
        data_dir: The stack's.
        ports: Of services that listen, for the state file.
    """

    def __init__(self, stack: Stack, data_dir: Path, ports: Mapping[str, int]) -> None:
        self._stack = stack
        self._data_dir = data_dir
        self._ports = dict(ports)
        self._watched: list[_Watched] = []
        self._services: list[Process] = []
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._ending = threading.Event()
        self._watch = threading.Thread(target=self._watch_all, name="supervisor")
        self._handlers: dict[signal.Signals, Any] = {}
        self._interrupted = False

    @property
    def restarts(self) -> dict[str, int]:
        """How often each was started again after it died."""
        return {watched.process.name: watched.restarts for watched in self._watched}

    def __enter__(self) -> Self:
        """Start the servers and begin to watch.

        Raises:
            ConflictError: The directory is in use.
            StartError: A server did not come up; none is left running.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._interrupt)
        try:
            self._stack.start()
        except BaseException:
            self._restore_handlers()
            raise
        self._look_after(self._stack.servers)
        self._watch.start()
        return self

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self._interrupted = True
        raise KeyboardInterrupt

    def _heed(self) -> None:
        """Raise what was swallowed: some libraries catch all at their import."""
        if self._interrupted:
            raise KeyboardInterrupt

    def start_services(self, specs: Sequence[ProcessSpec]) -> None:
        """Start our processes at once and wait until every one is ready.

        Raises:
            StartError: One did not come up; leaving the context stops the others.
        """
        self._heed()
        services = [Process(spec) for spec in specs]
        self._services += services
        for service in services:
            service.launch()
        for service in services:
            service.wait_ready()
        self._look_after(services)
        self._heed()

    def wait(self) -> None:
        """Return when SIGINT or SIGTERM asks us to end."""
        try:
            while True:
                signal.pause()
        except KeyboardInterrupt:
            _LOG.info("Stopping.")

    def stop(self) -> None:
        """Stop the services, then the servers.

        Services stop at once, but for the one started first: the sink, so that
        workers hear the answers to the calls they have begun. A second Ctrl-C while
        it runs is not heard. Again does nothing.
        """
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)
        self._ending.set()
        if self._watch.is_alive():
            self._watch.join()
        if self._services:
            with ThreadPoolExecutor(len(self._services)) as hands:
                list(hands.map(Process.stop, self._services[1:]))
            self._services[0].stop()
        # Before the directory is free for the next one.
        forget_state(self._data_dir)
        self._stack.stop()
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop everything."""
        self.stop()

    def _look_after(self, processes: Sequence[Process]) -> None:
        now = time.monotonic()
        watched = [_Watched(process, started_s=now) for process in processes]
        self._watched = [*self._watched, *watched]
        self._save()

    def _save(self) -> None:
        known = {one.process.name: identify(one.process.pid) for one in self._watched}
        us = psutil.Process()
        State(
            supervisor=RunningProcess(us.pid, us.create_time()),
            started_at=self._started_at,
            urls=self._stack.urls(),
            ports=self._ports | self._stack.ports,
            processes={name: who for name, who in known.items() if who},
            restarts=self.restarts,
        ).save(self._data_dir)

    def _watch_all(self) -> None:
        while not self._ending.wait(_LOOK_EVERY_S):
            for watched in self._watched:
                if watched.process.died and watched.process.spec.restart:
                    self._attend(watched)

    def _attend(self, watched: _Watched) -> None:
        now = time.monotonic()
        if watched.start_again_s is None:
            watched.start_again_s = now + self._pause_s(watched, now)
        elif now >= watched.start_again_s:
            watched.start_again_s = None
            self._start_again(watched, now)

    def _pause_s(self, watched: _Watched, now: float) -> float:
        if now - watched.started_s > _HEALTHY_S:
            watched.deaths_in_a_row = 0
        pause_s = min(_FIRST_PAUSE_S * 2.0**watched.deaths_in_a_row, _LONGEST_PAUSE_S)
        watched.deaths_in_a_row = min(watched.deaths_in_a_row + 1, 10)
        process = watched.process
        _LOG.warning(
            "%s ended (exit code %s); starting it again in %.1f s. Its log: %s",
            *(process.name, process.exit_code, pause_s, process.spec.log_path),
        )
        return pause_s

    def _start_again(self, watched: _Watched, now: float) -> None:
        watched.started_s = now
        watched.restarts += 1
        try:
            watched.process.revive()
        except StartError as error:
            # It still counts as dead, so the next look tries again, later.
            _LOG.warning("%s", error)
        self._save()
