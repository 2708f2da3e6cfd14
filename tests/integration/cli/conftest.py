"""The API and the sink on a machine of their own; nothing there sends."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli import main
from cli.starting import started_machine

NAMES = ("DATABASE_URL", "NATS_URL", "DRAGONFLY_URL", "CLICKHOUSE_URL")


@dataclass(frozen=True)
class Shell:
    """Runs commands as a shell would.

    Attributes:
        data_dir: Where the machine's data are.
        folder: Where the caller stands.
    """

    data_dir: Path
    folder: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of a command."""
        code = main([*arguments, "--data", str(self.data_dir)])
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def file(self, name: str, text: str) -> str:
        """Path of a new file."""
        path = self.folder / name
        path.write_text(text)
        return str(path)


@pytest.fixture(scope="module")
def machine_dir(tmp_path_factory) -> Iterator[Path]:
    data_dir = tmp_path_factory.mktemp("machine")
    for name in NAMES:
        assert name not in os.environ, f"{name} would be used instead of ours."
    with started_machine(data_dir, names=("sink", "web")):
        yield data_dir


@pytest.fixture
def shell(machine_dir, tmp_path, capsys) -> Iterator[Shell]:
    yield Shell(machine_dir, tmp_path, capsys)
    # A command puts the machine's addresses into the environment of its process.
    for name in NAMES:
        os.environ.pop(name, None)
