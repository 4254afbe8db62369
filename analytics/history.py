"""Which prices changed lately, by market offset.

A checkpoint of a partition was taken at some offset of the market log, and this
engine stands at another. What changed between the two is all that its results
can be wrong by; if that is remembered, a restart looks at those cells only.
"""

from collections import deque

import numpy as np

from analytics.changed import Touches
from analytics.touch import NO_TIME

REMEMBERED = 1 << 20


class History:
    """Changed prices since offset ``start``, the newest million of them."""

    def __init__(self) -> None:
        self.start = 0
        self._entries: deque[tuple[int, Touches]] = deque()
        self._count = 0

    def restart(self, offset: int) -> None:
        """Forget everything: the market was loaded as it is at an offset."""
        self.start = offset
        self._entries.clear()
        self._count = 0

    def add(self, offset: int, touches: Touches) -> None:
        """Remember prices that changed before an offset, the newest so far."""
        self._entries.append((offset, touches))
        self._count += len(touches)
        while self._count > REMEMBERED:
            self.start, oldest = self._entries.popleft()
            self._count -= len(oldest)

    def since(self, offset: int) -> Touches | None:
        """Prices that changed after an offset (not before ``start``), undated."""
        found = [touches for upto, touches in self._entries if upto > offset]
        if not found:
            return None
        column = np.concatenate([touches.column for touches in found])
        session = np.concatenate([touches.session for touches in found])
        order = np.argsort(session, kind="stable")
        none = np.zeros(len(order), dtype=np.int64)
        times = np.full(len(order), NO_TIME)
        return Touches(column[order], session[order], times, none, none.astype(float))
