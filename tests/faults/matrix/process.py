"""A process of the application with a clock that can be set from outside.

Run as ``python process.py run intake``. The file that ``CLOCK`` names holds eight
bytes: how many seconds the clock is wrong. Deadlines and time-outs are measured by
another one, which nobody sets.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import time
from pathlib import Path

CLOCK = "DELTAFOLIO_TEST_CLOCK"
PLANT = "DELTAFOLIO_TEST_PLANT"
NANO = 1_000_000_000


def shift_clock(path: Path) -> None:
    """Make ``time.time`` as wrong as the file says, at each moment."""
    with path.open("r+b") as file:
        view = mmap.mmap(file.fileno(), 8)
    right, right_ns = time.time, time.time_ns

    def wrong_by() -> float:
        by: float = struct.unpack_from("d", view)[0]
        return by

    time.time = lambda: right() + wrong_by()
    time.time_ns = lambda: right_ns() + int(wrong_by() * NANO)


def set_clock(path: Path, seconds: float) -> None:
    """Say how wrong the clock is."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(struct.pack("d", seconds))


def main() -> None:
    # Not this directory, whose modules have plain names.
    sys.path[0] = str(Path(__file__).resolve().parents[3])
    shift_clock(Path(os.environ.pop(CLOCK)))
    if plant := os.environ.pop(PLANT, ""):
        from tests.faults.matrix.planted import PLANTS

        PLANTS[plant]()
    from deltafolio.cli import main as command

    command()


if __name__ == "__main__":
    main()
