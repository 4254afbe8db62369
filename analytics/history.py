"""Which prices changed lately, by market offset.

A checkpoint of a partition was taken at some offset of the market log, and this
engine stands at another. What changed between the two is all that its results
can be wrong by; if that is remembered, a restart looks at those cells only.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from analytics.changed import Touches
from analytics.touch import NO_TIME

REMEMBERED = 1 << 20
Places = NDArray[np.int32]


class History:
    """Changed prices since offset ``start``, the newest million of them."""

    def __init__(self) -> None:
        self.start = 0
        self._entries: deque[tuple[int, Places, Places]] = deque()
        self._count = 0

    def restart(self, offset: int) -> None:
        """Forget everything: the market was loaded as it is at an offset."""
        self.start = offset
        self._entries.clear()
        self._count = 0

    def add(self, offset: int, touches: Touches) -> None:
        """Remember prices that changed before an offset, the newest so far."""
        column = touches.column.astype(np.int32)
        self._entries.append((offset, column, touches.session.astype(np.int32)))
        self._count += len(touches)
        while self._count > REMEMBERED:
            self.start, oldest, _ = self._entries.popleft()
            self._count -= len(oldest)

    def since(self, offset: int) -> Touches | None:
        """Prices that changed after an offset (not before ``start``), undated."""
        found = [entry for entry in self._entries if entry[0] > offset]
        if not found:
            return None
        column = np.concatenate([column for _, column, _ in found]).astype(np.intp)
        session = np.concatenate([session for *_, session in found]).astype(np.int64)
        order = np.argsort(session, kind="stable")
        none = np.zeros(len(order), dtype=np.int64)
        times = np.full(len(order), NO_TIME)
        return Touches(column[order], session[order], times, none, none.astype(float))
