"""One child process and its life."""

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from embedded.process import Process, ProcessSpec, StartError, gone


def _spec(tmp_path: Path, code: str) -> ProcessSpec:
    ready = tmp_path / "ready"
    return ProcessSpec(
        name="child",
        argv=(
            sys.executable,
            "-c",
            code.replace("READY", f"open({str(ready)!r}, 'w')"),
        ),
        log_path=tmp_path / "child.log",
        ready=ready.exists,
        stop_timeout_s=0.3,
    )


def test_a_child_that_dies_shows_its_log_and_what_to_do(tmp_path: Path) -> None:
    """The error holds advice and the last lines of this run alone."""
    (tmp_path / "child.log").write_text("of a former run\n")
    process = Process(_spec(tmp_path, "exit('write: No space left on device')"))

    with pytest.raises(StartError) as caught:
        process.start()

    text = str(caught.value)
    assert "child ended at once (exit code 1): free some space" in text
    assert "No space left" in text
    assert "of a former run" not in text


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    """The child says so in its log, and nothing is left running."""
    spec = ProcessSpec("child", ("/no/such",), tmp_path / "log", ready=lambda: False)

    with pytest.raises(StartError, match="/no/such"):
        Process(spec).start()


def test_who_does_not_hear_is_killed_with_all_children(tmp_path: Path) -> None:
    """After its time a deaf process ends with its family, also when paused."""
    deaf = (
        "import signal, subprocess, sys;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "READY; signal.pause()"
    )
    process = Process(_spec(tmp_path, deaf))
    process.start()
    process.pause()
    family = process.family()
    assert len(family) == 2

    process.stop()

    assert all(gone(member, timeout_s=0) for member in family)
    assert process.pid is None


def test_a_child_ends_with_its_parent(tmp_path: Path, orphan: psutil.Process) -> None:
    """Nobody lives on when whoever started them was killed."""
    assert gone(orphan, timeout_s=5)


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[psutil.Process]:
    """A child of a process that was killed."""
    code = (
        "import os, sys, time; from pathlib import Path;"
        "from embedded.process import Process, ProcessSpec;"
        f"path = Path({str(tmp_path)!r});"
        "child = Process(ProcessSpec('child', ('sleep', '60'), path / 'log',"
        " ready=lambda: 'sleep' in child.family()[0].cmdline()));"
        "child.start(); (path / 'draft').write_text(str(child.pid));"
        "(path / 'draft').rename(path / 'pid'); time.sleep(60)"
    )
    parent = Process(
        ProcessSpec(
            "parent",
            (sys.executable, "-c", code),
            tmp_path / "parent.log",
            ready=(tmp_path / "pid").exists,
            cwd=Path.cwd(),
        )
    )
    parent.start()
    child = psutil.Process(int((tmp_path / "pid").read_text()))
    psutil.Process(parent.pid).kill()
    yield child
    parent.stop()


def test_measures_are_of_the_whole_family(tmp_path: Path) -> None:
    """CPU seconds and memory bytes are plausible while it runs and zero after."""
    busy = "import time; sum(range(3 * 10**6)); READY; time.sleep(60)"
    process = Process(_spec(tmp_path, busy))
    process.start()

    assert 0.01 < process.cpu_seconds() < 30
    assert 10**6 < process.rss_bytes() < 10**9

    process.kill()
    assert (process.cpu_seconds(), process.rss_bytes()) == (0, 0)
