"""The numbered steps of the worker's protocols, and a way to die between two.

The numbers are those of ``docs/delivery.md`` and stand in the code where a step
is done. A test sets ``DELTAFOLIO_CRASH_AT=publish:3`` and the process kills
itself (SIGKILL, as a crash of the machine would) right after that step was done
for the third time. ``DELTAFOLIO_OFFSET_LOG=<directory>`` makes each worker write
down every offset it folded, which is how a test proves that none was skipped.
"""

import os
import signal
from collections import Counter
from enum import StrEnum
from pathlib import Path

CRASH_VARIABLE = "DELTAFOLIO_CRASH_AT"
OFFSETS_VARIABLE = "DELTAFOLIO_OFFSET_LOG"


class Step(StrEnum):
    """A step of ``docs/delivery.md``; the name used in ``DELTAFOLIO_CRASH_AT``."""

    # Effects: E1 to E8.
    DECODE = "decode"
    FOLD = "fold"
    DERIVE = "derive"
    PUBLISH = "publish"
    LETTERS = "letters"
    CHECKPOINT = "checkpoint"
    MARKET_CHECKPOINT = "market-checkpoint"
    ACKNOWLEDGE = "acknowledge"
    # Taking over: T1 to T6.
    MARKET_STATE = "market-state"
    MARKET_LOG = "market-log"
    TABLE = "table"
    TAIL = "tail"
    FILL = "fill"
    LIVE = "live"


class CrashPoint:
    """Kills this process after the n-th time that a step was done.

    Parameters
    ----------
    where
        ``step:n`` (``n`` from 1, by default 1), or None for never.

    Raises
    ------
    ValueError
        If the step is not one of `Step` or n is not a positive number.
    """

    def __init__(self, where: str | None) -> None:
        self._step: Step | None = None
        self._seen: Counter[Step] = Counter()
        if where:
            name, _, count = where.partition(":")
            self._step, self._count = Step(name), int(count or 1)

    def done(self, step: Step) -> None:
        """Say that a step is done; does not return if it is the one to die after."""
        if step is self._step:
            self._seen[step] += 1
            if self._seen[step] == self._count:
                os.kill(os.getpid(), signal.SIGKILL)


class OffsetLog:
    """What this process folded of which partition, line by line, for tests.

    Lines are ``start <partition> <next>`` when a state is taken over, ``fold
    <partition> <offset>`` for each record. Each line is one write to the file
    system, so that a kill loses none of them.
    """

    def __init__(self, directory: str | None) -> None:
        self._file: int | None = None
        if directory:
            path = Path(directory) / f"offsets-{os.getpid()}.log"
            self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)

    def start(self, partition: int, offset: int) -> None:
        """Note that a partition's state was taken over at this next offset."""
        self._write("start", partition, offset)

    def fold(self, partition: int, offset: int) -> None:
        """Note that a record was folded."""
        self._write("fold", partition, offset)

    def _write(self, what: str, partition: int, offset: int) -> None:
        if self._file is not None:
            os.write(self._file, b"%s %d %d\n" % (what.encode(), partition, offset))


crash = CrashPoint(os.environ.get(CRASH_VARIABLE))
offsets = OffsetLog(os.environ.get(OFFSETS_VARIABLE))
