"""As whom PostgreSQL runs, which refuses to run as root."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

    @property
    def changes(self) -> dict[str, Any]:
        """What `subprocess` needs to know for a child that runs as the user."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.uid, "extra_groups": ()}

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


def postgres_user(place: Path, program: Path) -> PostgresUser:
    """Return as whom the server shall run.

    An ordinary user runs it as themself. For root there are two ways: in a user
    namespace where root has another number, so that no user is made and the files
    stay root's; or, where the kernel forbids namespaces, or root without its
    privileges cannot reach the place, as an ordinary user, who must be able to.

    Args:
        place: An existing directory, in which the data will be.
        program: The server.
    """
    if os.getuid() != 0:
        return PostgresUser()
    if _reaches(_NAMESPACE, place, program):
        return PostgresUser(prefix=_NAMESPACE)
    owners = (parent.stat().st_uid for parent in (place, *place.parents))
    return PostgresUser(uid=next((uid for uid in owners if uid), _NOBODY))


def _reaches(prefix: tuple[str, ...], place: Path, program: Path) -> bool:
    if shutil.which(prefix[0]) is None:
        return False
    test = ("test", "-w", str(place), "-a", "-x", str(program))
    return subprocess.run((*prefix, *test), check=False).returncode == 0
