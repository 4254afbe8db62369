"""CPU seconds by process, of the application and of the embedded stack."""

from __future__ import annotations

import contextlib

import psutil

from connectors.stack import Stack
from deltafolio.supervisor import Supervisor


def cpu_seconds(supervisor: Supervisor, stack: Stack) -> dict[str, float]:
    """User and system seconds since each process started.

    PostgreSQL's are those of its living children too; what its ended backends used
    is in their parent's account of children.
    """
    found = {}
    for service in stack.status():
        if service.pid is not None:
            found[service.name] = _with_children(service.pid)
    return found | supervisor.cpu_seconds()


def _with_children(pid: int) -> float:
    total = 0.0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        times = process.cpu_times()
        total = times.user + times.system + _ended(times)
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                times = child.cpu_times()
                total += times.user + times.system + _ended(times)
    return total


def _ended(times: object) -> float:
    """Seconds of children that have ended, where the system counts them."""
    user = getattr(times, "children_user", 0.0)
    return float(user + getattr(times, "children_system", 0.0))
