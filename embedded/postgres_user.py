"""As whom PostgreSQL runs, which refuses to run as root."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_NOBODY = 65534
_NAMESPACE = (
    "unshare",
    "--user",
    f"--map-user={_NOBODY}",
    f"--map-group={_NOBODY}",
    "--",
)


@dataclass(frozen=True, slots=True)
class PostgresUser:
    """Who, and by what means.

    Attributes:
        prefix: What runs the server in a user namespace; empty when none is needed.
        uid: The user it changes to; None when it stays who we are.
    """

    prefix: tuple[str, ...] = ()
    uid: int | None = None

    def own(self, path: Path) -> None:
        """Give a file, or a tree, to the user; does nothing when it is theirs."""
        if os.getuid() != 0:
            return
        uid = self.uid or 0
        if path.stat().st_uid == uid:
            return
        os.chown(path, uid, uid)
        for inside in path.rglob("*"):
            os.chown(inside, uid, uid, follow_symlinks=False)


def postgres_user(home: Path) -> PostgresUser:
    """Return as whom the server shall run.

    An ordinary user runs it as themself. For root there are three ways: as the owner
    of the place where its data will be, when that is an ordinary user; else in a
    user namespace where root has another number, so that no user is made and the
    files stay root's; else, where the kernel or a container forbids namespaces, as
    `nobody`, which must then be able to reach the programs and the data.
    """
    if os.getuid() != 0:
        return PostgresUser()
    owner = _first_existing(home.parent).stat().st_uid
    if owner:
        return PostgresUser(uid=owner)
    if _namespaces_work():
        return PostgresUser(prefix=_NAMESPACE)
    return PostgresUser(uid=_NOBODY)


def _first_existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


@cache
def _namespaces_work() -> bool:
    if shutil.which("unshare") is None:
        return False
    test = subprocess.run((*_NAMESPACE, "true"), check=False, capture_output=True)
    return test.returncode == 0
