"""Write what the image installs, each file by its hash: the two `.lock` files.

Run it with the image's Python on its platform (3.11, x86-64 Linux, glibc) after
setup.cfg changed: `python scripts/lock.py`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).absolute().parents[1]
_HEAD = """\
# Written by scripts/lock.py: {what}, with the hash of each file.
# For Python 3.11 on x86-64 Linux.
"""
#: What builds our own package, and those that come as source, without a look around.
_BUILD = "setuptools>=75"


def main() -> None:
    """Resolve what setup.cfg asks for, and write it down."""
    _write("requirements.lock", "the image's packages", _locked(str(_ROOT)))
    _write("requirements-build.lock", "what builds them", _locked(_BUILD))


def _write(name: str, what: str, lines: list[str]) -> None:
    (_ROOT / name).write_text(_HEAD.format(what=what) + "".join(lines))


def _locked(requirement: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(  # noqa: S603 - pip, as this Python has it
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"),
                *("--ignore-installed", "--report", str(report), requirement),
            ],
            check=True,
        )
        found = json.loads(report.read_text())["install"]
    # Our own package is a folder and has no hash.
    return sorted(_line(one) for one in found if "archive_info" in one["download_info"])


def _line(one: dict[str, dict[str, dict[str, dict[str, str]]]]) -> str:
    metadata = one["metadata"]
    digest = one["download_info"]["archive_info"]["hashes"]["sha256"]
    name = str(metadata["name"]).lower().replace("_", "-")
    return f"{name}=={metadata['version']} \\\n    --hash=sha256:{digest}\n"


if __name__ == "__main__":
    main()
