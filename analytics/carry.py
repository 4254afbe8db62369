"""Which close a session is valued with: the newest one up to it, by symbol.

``note`` takes down where closes came and went; ``refresh`` repairs ``last`` of the
frame from there on, so that a bulk load costs one sweep and not one a record.
"""

from collections.abc import Sequence

import numpy as np

from analytics.frame import Frame
from analytics.money import Indices

SEPARATE = 64  # so many different first sessions are repaired one by one


class Carry:
    """Keeps ``last`` of a frame true to its ``close``.

    Attributes
    ----------
    newest
        Newest session that has a close of any symbol; None without one.
    """

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._counts: dict[int, int] = {}
        self._stale: dict[int, int] = {}
        self._filled = -1
        self.newest: int | None = None

    @property
    def top(self) -> int:
        """Newest session that ever had a close; -1 for none."""
        return max(self._counts, default=-1)

    def note(
        self, sessions: Sequence[int], columns: Sequence[int], by: Sequence[int]
    ) -> None:
        """Note closes that came (+1), went (-1), or changed their value (0)."""
        counts, stale = self._counts, self._stale
        for session, column, step in zip(sessions, columns, by, strict=True):
            counts[session] = counts.get(session, 0) + step
            if session < stale.get(column, session + 1):
                stale[column] = session
        if self.newest is None or max(sessions) >= self.newest:
            there = [session for session, count in counts.items() if count]
            self.newest = max(there, default=None)

    def refresh(self) -> None:
        """Repair ``last``: forward from the first close that came or went."""
        if not self._stale:
            return
        top = self.top
        self._fill(top)
        groups: dict[int, list[int]] = {}
        for column, session in self._stale.items():
            groups.setdefault(session, []).append(column)
        if len(groups) > SEPARATE:
            groups = {min(groups): list(self._stale)}
        for session, columns in groups.items():
            self._forward(session, top, np.array(columns, dtype=np.intp))
        self._stale.clear()

    def _fill(self, top: int) -> None:
        """Carry ``last`` into sessions that were not used before."""
        frame = self._frame
        if self._filled >= 0 and top > self._filled:
            below, above = frame.row(self._filled), frame.row(top)
            frame["last"][below + 1 : above + 1] = frame["last"][below]
        self._filled = max(top, self._filled)

    def _forward(self, session: int, top: int, columns: Indices) -> None:
        frame = self._frame
        low, high = frame.row(session), frame.row(top) + 1
        there = frame["close"][low:high, columns] != 0
        sessions = np.arange(session, top + 1, dtype=np.int32)[:, None]
        block = np.where(there, sessions, np.int32(-1))
        np.maximum(block[0], frame["last"][low - 1, columns], out=block[0])
        frame["last"][low:high, columns] = np.maximum.accumulate(block, axis=0)
