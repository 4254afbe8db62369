"""The numbered steps of all protocols, and a way to die between two.

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
    """A step of ``docs/delivery.md`` by its number there, and its name.

    >>> Step("publish").name
    'E4'
    """

    # Intake: from a captured row to the journal.
    I1 = "read"
    I2 = "take"
    I3 = "announce"
    I4 = "append"
    I5 = "remove"
    I6 = "commit"
    # A worker's effects.
    E1 = "decode"
    E2 = "fold"
    E3 = "derive"
    E4 = "publish"
    E5 = "letters"
    E6 = "checkpoint"
    E7 = "market-checkpoint"
    E8 = "acknowledge"
    # Taking over.
    T1 = "market-state"
    T2 = "market-log"
    T3 = "table"
    T4 = "tail"
    T5 = "fill"
    T6 = "live"
    # Two owners at once.
    R1 = "stranger-read"
    R2 = "stranger-heard"
    R3 = "stranger-overruled"
    # A worker's end.
    Z1 = "stop-folding"
    Z2 = "put-down"
    Z3 = "leave"
    # The sink.
    S1 = "sink-open"
    S2 = "sink-seek"
    S3 = "sink-take"
    S4 = "sink-copy"
    S5 = "sink-merge"
    S6 = "sink-retract"
    S7 = "sink-refuse"
    S8 = "sink-commit"


def steps_of(protocols: str) -> list[Step]:
    """List the steps of some protocols, by the letters of their numbers.

    >>> [step.name for step in steps_of("Z")]
    ['Z1', 'Z2', 'Z3']
    """
    return [step for step in Step if step.name[0] in protocols]


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
