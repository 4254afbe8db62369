"""Correlations of pairs in the newest session, kept between two ticks.

A tick moves the pairs of one symbol, and its holders need those of all their names. A
close that changes lets go of all pairs of its symbol.
"""

import numpy as np

from analytics.changed import Touches
from analytics.factors import Factors
from analytics.kernels.pairs import Pairs, correlations
from analytics.kernels.windows import Block
from analytics.market import Market
from analytics.money import Indices

MOST = 2000
"""Of more symbols nothing is kept: 14 bytes a pair would be more than 56 MB."""


class NewestPairs:
    """Results of ``kernels.pairs`` by both columns of the panel, the smaller first."""

    def __init__(self, market: Market, factors: Factors) -> None:
        self._market = market
        self._factors = factors
        self._session = -1
        self._make(0)

    def _make(self, width: int) -> None:
        shape = (width, width)
        self._known = np.zeros(shape, bool)
        self._rho = np.zeros(shape)
        self._n = np.zeros(shape, np.int32)
        self._reason = np.zeros(shape, np.uint8)

    def update(self, touches: Touches) -> None:
        """Let go of what changed closes move."""
        moved = np.unique(touches.column[touches.column < len(self._known)])
        self._known[moved] = False
        self._known[:, moved] = False

    def of(
        self,
        sessions: tuple[int, int],
        block: Block,
        columns: Indices,
        left: Indices,
        right: Indices,
    ) -> Pairs:
        """Correlate pairs of a block in the sessions ``start <= t < stop``.

        ``columns`` are those of the panel; ``left`` and ``right`` are places in them.
        """
        window, newest = self._factors.correlation, self._market.last_session
        width = len(self._market.symbols)
        if sessions != (newest, newest + 1) or width > MOST:
            return correlations(block, left, right, window)
        if newest != self._session or width != len(self._known):
            self._session = newest
            self._make(width)
        one, other = columns[left], columns[right]
        pair = np.minimum(one, other), np.maximum(one, other)
        missing = np.flatnonzero(~self._known[pair])
        if len(missing):
            few = correlations(block, left[missing], right[missing], window)
            at = pair[0][missing], pair[1][missing]
            self._rho[at], self._n[at] = few.rho[0], few.n[0]
            self._reason[at], self._known[at] = few.reason[0], True
        return Pairs(
            self._rho[pair][None], self._n[pair][None], self._reason[pair][None]
        )
