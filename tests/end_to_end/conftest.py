"""Commands in processes of their own, on data of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

#: What our own shell may name, and the machine under test must not meet.
NAMES = ("DATABASE_URL", "NATS_URL", "DRAGONFLY_URL", "CLICKHOUSE_URL")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment() -> dict[str, str]:
    """What the commands are told; a module may name servers in it."""
    return {k: v for k, v in os.environ.items() if k not in NAMES}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Where the machine's data are."""
    return tmp_path / "data"


@pytest.fixture
def run(environment: dict[str, str], data_dir: Path) -> Iterator[Run]:
    """Runs a command in a process of its own; the machine is down at the end."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cli", *arguments, "--data", str(data_dir)],
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    yield run
    run("down")
