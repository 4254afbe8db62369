"""How much a flush makes at once, how fast, and where the time of a cycle goes."""

import logging
from time import monotonic

logger = logging.getLogger(__name__)

CHUNK = 8000
"""Cells of a family that are derived at once, at most: 60 MB of text, if of risk."""
SLICE = 256
"""Cells of a conflated family in the first slice of a round."""
LEAST = 64
"""... and in any: much of what a slice costs is the same for one cell."""
CATCH_UP_SLICE_S = 1.0
"""What a slice should take while a worker catches up: sessions side by side share sums
of windows, and of eight each costs little more than half of what it costs alone."""
SLICE_S = 0.1
"""... while it does not, and nothing is published at once."""
LIVE_SLICE_S = 0.04
"""... while something is: it waits for the slice."""
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


class Rounds:
    """When conflated families are derived: in rounds, and these in slices.

    A round has as many cells as are touched when it begins. What is touched again
    meanwhile is of the next one, so a worker that never stands still derives each cell
    once a round.

    Parameters
    ----------
    every
        Seconds from the beginning of a round to that of the next, at least.
    most
        Cells in a slice, at most.

    Attributes
    ----------
    slice
        Cells of a family to derive next.
    next_at
        When the next round may begin.
    """

    def __init__(self, every: float, most: int = CHUNK) -> None:
        self._every = every
        self._most = most
        self._left = 0
        self._aim = LIVE_SLICE_S
        self.slice = min(SLICE, most)
        self.next_at = 0.0

    @property
    def under_way(self) -> bool:
        """Whether slices of a round are left."""
        return self._left > 0

    def due(self, now: float) -> bool:
        """Whether to derive a slice."""
        return self.under_way or now >= self.next_at

    def begin(self, now: float, cells: int) -> None:
        """Begin a round of so many cells, unless one is under way."""
        if not self.under_way:
            self._left, self.slice = cells, min(SLICE, self._most)
            self._aim = LIVE_SLICE_S
            self.next_at = now + self._every

    def aim_at(self, seconds: float) -> None:
        """Say what the next slice should take; shorter than the last is at once."""
        if seconds < self._aim:
            self.slice = max(LEAST, round(self.slice * seconds / self._aim))
            self.slice = min(self.slice, self._most)
        self._aim = seconds

    def derived(self, seconds: float, left: int) -> None:
        """Note what a slice took, and how many cells are touched after it."""
        self._left = min(max(0, self._left - self.slice), left)
        self.slice = min(next_slice(self.slice, seconds, self._aim), self._most)


def aim_of(*, live: bool, catching_up: bool) -> float:
    """Seconds that a slice should take; ``live``: something waits for it."""
    if live:
        return LIVE_SLICE_S
    return CATCH_UP_SLICE_S if catching_up else SLICE_S


def next_slice(cells: int, seconds: float, aim: float) -> int:
    """How many cells to derive next, after so many took so long.

    At most twice as many, and half as many: one measurement says little.

    Examples
    --------
    >>> next_slice(1000, 0.125, 0.1), next_slice(1000, 0.001, 0.1)
    (800, 2000)
    >>> next_slice(100, 9.0, 0.1)
    64
    """
    wanted = cells * aim / max(seconds, 1e-6)
    near = min(max(wanted, cells / 2), cells * 2)
    return max(int(near), LEAST)


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
