"""How much a flush makes at once, how fast, and where the time of a cycle goes."""

import logging
from time import monotonic

logger = logging.getLogger(__name__)

CHUNK = 4000
"""Cells of a family that are derived at once, at most: some megabytes of text."""
SLICE = 256
"""Cells of a conflated family in the first slice of a backlog, and at least."""
SLICE_S = 0.1
"""What a slice should take: what is published at once waits for it."""
PACE_S = 0.1
LONG_S = 0.5
"""A cycle that takes longer is logged, with its steps."""


class Pace:
    """How many records go out in a second, if that is limited.

    Parameters
    ----------
    rate
        Records a second; None: as many as can be made.

    Attributes
    ----------
    most
        Cells of a family at once: what is made in a tenth of a second.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._free_at = 0.0
        self._count = 0
        self.most = CHUNK if rate is None else max(1, round(rate * PACE_S))

    def made(self, records: int) -> None:
        """Note what goes out now."""
        self._count += records

    def rest(self, now: float) -> float:
        """Seconds to wait for before more is made."""
        count, self._count = self._count, 0
        if self._rate is None:
            return 0.0
        self._free_at = max(self._free_at, now) + count / self._rate
        return self._free_at - now


def next_slice(cells: int, seconds: float) -> int:
    """How many cells to derive next, after so many took so long.

    At most twice as many, and half as many: one measurement says little.

    Examples
    --------
    >>> next_slice(1000, 0.125), next_slice(1000, 0.001), next_slice(300, 9.0)
    (800, 2000, 256)
    """
    wanted = cells * SLICE_S / max(seconds, 1e-6)
    near = min(max(wanted, cells / 2), cells * 2)
    return int(min(max(near, SLICE), CHUNK))


class StepWatch:
    """Seconds of each step of a cycle; tells of cycles that keep results waiting."""

    def __init__(self) -> None:
        self._at = monotonic()
        self._laps: dict[str, float] = {}

    def lap(self, step: str) -> None:
        """End a step."""
        now = monotonic()
        self._laps[step] = now - self._at
        self._at = now

    def tell(self) -> None:
        """Log a cycle that was long."""
        if sum(self._laps.values()) > LONG_S:
            steps = ", ".join(f"{step} {s:.2f}" for step, s in self._laps.items())
            logger.info("a long cycle, in seconds: %s", steps)
