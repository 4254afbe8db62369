"""Run a command as an ordinary user: `python drop.py UID GID PATH... -- COMMAND...`.

A small program of its own (standard library only), because PostgreSQL refuses to
run as root and what must happen between `fork` and `exec` is not safe in a process
with threads. It changes to the user and, only if one of the PATHs cannot be reached
by that user (a checkout in root's home, a temporary directory), keeps the single
capability to search directories. No permission of any directory is changed.
"""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_SETPCAP = 8


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def change_user(uid: int, gid: int) -> None:
    """Become the user; what capabilities were permitted stay permitted until exec."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def reachable(path: str) -> bool:
    """Whether the user may enter or run the path (its parents must be searchable)."""
    return os.access(path, os.X_OK)


def keep_search() -> None:
    """Keep, over exec, the least capability that lets us pass closed directories.

    Raises
    ------
    OSError
        If the container took both capabilities away.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = _Header(CAPABILITY_VERSION_3, 0)

    def hold(*capabilities: int) -> bool:
        mask = sum(1 << capability for capability in capabilities)
        data = (_Data * 2)(_Data(mask, mask, mask), _Data(0, 0, 0))
        return bool(libc.capset(ctypes.byref(header), data) == 0)

    # A container's usual set lacks the first one and has the second.
    for capability in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        if hold(capability, CAP_SETPCAP):
            # Else `access` leaves capabilities out of account, and initdb, which
            # asks it, finds no server beside itself.
            libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
        if hold(capability):
            raised = libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)
            if raised == 0:
                return
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code))


def main(argv: list[str]) -> None:
    """Change the user, keep the capability if it is needed, become the command."""
    split = argv.index("--")
    uid, gid, *paths = argv[:split]
    command = argv[split + 1 :]
    change_user(int(uid), int(gid))
    if not all(reachable(path) for path in paths):
        try:
            keep_search()
        except (OSError, AttributeError) as error:  # only Linux has capset
            sys.exit(
                f"user {uid} cannot reach {' or '.join(paths)} ({error}): let others "
                "search their parents (chmod o+x), choose another directory by "
                "DELTAFOLIO_HOME, or do not run as root"
            )
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
