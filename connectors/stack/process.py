"""Processes that outlive the one that starts them, and are never mistaken.

A process is known by its pid and the moment it started: a pid alone is given to
somebody else sooner or later. Nothing here sends a signal before both agree.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from connectors.stack.errors import ServiceError

START_TOLERANCE = 2.0
"""Seconds by which two readings of a start time may differ (the clock is corrected)."""

POLL = 0.05
"""Seconds between two looks at a process or a health check."""

TAIL_LINES = 25

LOG_BYTES = 20_000_000
"""A log larger than this is put aside when its service starts."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A process: its pid and the moment it started, in seconds of the epoch."""

    pid: int
    started: float


def identify(pid: int) -> Identity | None:
    """Identity of a running process; None if there is none, or only its remains."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            _reap(pid)
            return None
        return Identity(pid, process.create_time())
    except psutil.Error:
        return None


def _reap(pid: int) -> None:
    """Take a dead child's exit status, if it is ours to take."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def is_alive(identity: Identity) -> bool:
    """Whether that very process still runs."""
    now = identify(identity.pid)
    return now is not None and abs(now.started - identity.started) < START_TOLERANCE


def read_identity(path: Path) -> Identity | None:
    """Read a pid file; None if absent, unreadable, or of a process that is gone."""
    try:
        identity = msgspec.json.decode(path.read_bytes(), type=Identity)
    except (OSError, msgspec.MsgspecError):
        return None
    return identity if is_alive(identity) else None


def write_identity(path: Path, identity: Identity) -> None:
    """Write a pid file in one step, so that a reader never sees half of it."""
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(identity))
    part.replace(path)


def spawn(
    command: Sequence[str],
    log: Path,
    cwd: Path,
    env: dict[str, str] | None = None,
) -> Identity:
    """Start a process of its own session that outlives us, its output in a log.

    Raises
    ------
    ServiceError
        If it was gone before it could be looked at.
    """
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_name(log.name + ".1"))
    with log.open("ab") as out:
        child = subprocess.Popen(  # noqa: S603 - commands of our own making
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )
    identity = identify(child.pid)
    # It outlives this object on purpose; `identify` reaps it when it is a child.
    child.returncode = 0
    if identity is None:
        raise ServiceError(Path(command[0]).name, "ended at once", log, tail(log))
    return identity


def signal_process(identity: Identity, number: int) -> None:
    """Send a signal to that very process; nothing if it is gone."""
    if is_alive(identity):
        with contextlib.suppress(ProcessLookupError):
            os.kill(identity.pid, number)


def stop(identity: Identity, number: int, seconds: float) -> bool:
    """Ask a process to end, then kill it with its children.

    Parameters
    ----------
    identity
        Which one.
    number
        The signal that asks.
    seconds
        How long it may take.

    Returns
    -------
    bool
        Whether it ended by itself.
    """
    children = _descendants(identity)
    signal_process(identity, number)
    if wait_gone(identity, seconds):
        return True
    for victim in (identity, *children):
        signal_process(victim, signal.SIGKILL)
    wait_gone(identity, seconds)
    return False


def _descendants(identity: Identity) -> list[Identity]:
    """Children of a process (PostgreSQL's backends outlive a killed parent a while)."""
    if not is_alive(identity):
        return []
    with contextlib.suppress(psutil.Error):
        found = psutil.Process(identity.pid).children(recursive=True)
        return [one for child in found if (one := identify(child.pid))]
    return []


def wait_gone(identity: Identity, seconds: float) -> bool:
    """Wait until a process is gone; False if it is still there after the time."""
    limit = time.monotonic() + seconds
    while is_alive(identity):
        if time.monotonic() > limit:
            return False
        time.sleep(POLL)
    return True


def find_marked(marker: str) -> Iterator[Identity]:
    """Find processes of ours with an argument that is exactly the marker.

    For what was started and not written down: the starter was killed in between.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if marker in process.cmdline() and process.pid != os.getpid():
                identity = identify(process.pid)
                if identity:
                    yield identity


def listens(identity: Identity, port: int) -> bool:
    """Whether it is that process that listens on a port, not one who was quicker."""
    try:
        connections = psutil.Process(identity.pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # the system does not tell
        return True
    listening = (one for one in connections if one.status == psutil.CONN_LISTEN)
    return any(one.laddr.port == port for one in listening)


def works_in(directory: Path) -> bool:
    """Whether a living process has this directory as its current one."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            dead = process.status() == psutil.STATUS_ZOMBIE
            if not dead and process.cwd() == str(directory):
                return True
    return False


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 32_768))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
