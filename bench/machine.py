"""Which machine a figure was measured on."""

import os
import platform
import shlex
import statistics
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from connectors.stack import versions


def describe() -> str:
    """Say the machine and the versions in one line."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, "
        f"PostgreSQL {versions.POSTGRES}, Kafka {versions.KAFKA}, "
        f"Debezium {versions.DEBEZIUM}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


def peak_memory(pid: int) -> float:
    """Most MiB that a process has held; where nobody noted that, what it holds now."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        found = [line.split()[1] for line in lines if line.startswith("VmHWM")]
        if found:
            return int(found[0]) / 1024
    return float(psutil.Process(pid).memory_info().rss) / 2**20


def head(question: str) -> None:
    """Print the question, the command that asks it, and where it is asked."""
    command = shlex.join(["python", *sys.orig_argv[1:]])
    print(f"\n== {question}\n   command: {command}\n   machine: {describe()}")


def spread(values: Sequence[float], unit: str, digits: int = 1) -> str:
    """Say n, minimum, median and maximum of some runs.

    >>> spread([3, 1, 2], "s")
    'n 3, min 1.0, median 2.0, max 3.0 s'
    """
    low, high, middle = min(values), max(values), statistics.median(values)
    return (
        f"n {len(values)}, min {low:.{digits}f}, median {middle:.{digits}f}, "
        f"max {high:.{digits}f} {unit}"
    )


def cpu(before: dict[str, float], after: dict[str, float], seconds: float) -> str:
    """Say how much of a core each process used between two readings."""
    shares = {
        name: (used - before.get(name, 0.0)) / seconds for name, used in after.items()
    }
    words = [f"{name} {share:.2f}" for name, share in shares.items()]
    return f"{', '.join(words)}; all {sum(shares.values()):.2f} cores"
