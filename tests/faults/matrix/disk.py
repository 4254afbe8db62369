"""A state directory on a small disk of its own, and how to fill it.

A file system of its own needs a right that not everybody has; without it the processes
that run are forbidden to write to files, which they notice by another error.
"""

from __future__ import annotations

import contextlib
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from deltafolio.supervisor import Supervisor

DISK = "64m"


@contextmanager
def small_disk(home: Path) -> Iterator[None]:
    """Put a file system of 64 MB at a directory, where that is allowed."""
    home.mkdir(parents=True)
    mounted = _succeeds(
        "mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(home)
    )
    try:
        yield
    finally:
        if mounted:
            _succeeds("umount", "--lazy", str(home))


def _succeeds(*command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
    except OSError:
        return False
    return done.returncode == 0


@contextmanager
def full_disk(home: Path, supervisor: Supervisor | None) -> Iterator[None]:
    """Leave no room in a state directory for a block."""
    if home.is_mount() or supervisor is None:
        with _filled(home):
            yield
    else:
        with _forbidden(supervisor):
            yield


@contextmanager
def _filled(home: Path) -> Iterator[None]:
    ballast = home / "ballast"
    try:
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        yield
    finally:
        ballast.unlink()


@contextmanager
def _forbidden(supervisor: Supervisor) -> Iterator[None]:
    pids = [pid for name in supervisor.names() if (pid := supervisor.pid(name))]
    held = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(soft: int) -> None:
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (soft, held[1]))

    limit(0)
    try:
        yield
    finally:
        limit(held[0])
