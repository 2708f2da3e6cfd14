"""Become another program that ends when its parent ends.

Run as a script, never imported by a server's package: `leash.py PARENT SIGNAL UID
PROGRAM ARGUMENT…`, UID empty for our own. It asks the kernel for a signal at the
parent's death and then *is* the program, same process id, nothing left in between. A
hook before exec in the parent would do the same, but may deadlock where threads run.

The kernel forgets the request when the process changes its user, or executes a
program with the setuid bit; so the user is changed first, and whatever wraps the
program (`unshare`) has to stand before the leash. Linux only; elsewhere the program
runs without a leash and only an orderly stop ends it.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Execute a program on the leash; returns only when the parent died meanwhile."""
    parent, at_death, uid, *program = arguments
    # What it writes, recipients among it, is nobody else's to read.
    os.umask(0o077)
    if uid:
        os.setgroups([])
        os.setgid(int(uid))
        os.setuid(int(uid))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, int(at_death), 0, 0, 0)
    # It may have died before we asked, and then nobody tells us any more.
    if os.getppid() == int(parent):
        try:
            os.execvp(program[0], program)  # noqa: S606  (no shell is what we want)
        except OSError as error:
            sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
