"""The numbered steps of intake, and a way to die between two (as ``streams.steps``).

``DELTAFOLIO_INTAKE_CRASH_AT=appended:3`` makes the process kill itself right after
that step was done for the third time.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable
from enum import StrEnum

CRASH_VARIABLE = "DELTAFOLIO_INTAKE_CRASH_AT"


class IntakeStep(StrEnum):
    """A step of intake; the numbers are those of ``streams.intake``."""

    TAKEN = "taken"  # I1, I2
    ANNOUNCED = "announced"  # I3
    APPENDED = "appended"  # I4
    REMOVED = "removed"  # I5
    COMMITTED = "committed"  # I6


Steps = Callable[[IntakeStep], None]


def steps_from_environment() -> Steps:
    """Make the hook that production uses: it does nothing unless told to crash."""
    where = os.environ.get(CRASH_VARIABLE)
    if not where:
        return lambda _step: None
    name, _, count = where.partition(":")
    fatal, left = IntakeStep(name), int(count or 1)
    seen: Counter[IntakeStep] = Counter()

    def done(step: IntakeStep) -> None:
        seen[step] += 1
        if step is fatal and seen[step] == left:
            os.kill(os.getpid(), signal.SIGKILL)

    return done
