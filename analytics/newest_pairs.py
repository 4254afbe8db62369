"""Correlations of pairs in the newest session, kept between two ticks.

A tick moves the pairs of one symbol, and its holders need those of all their names. A
close that changes lets go of all pairs of its symbol.
"""

import numpy as np

from analytics.changed import Touches
from analytics.factors import Factors
from analytics.kernels.aggregate import used_columns
from analytics.kernels.pair_book import Found
from analytics.kernels.pairs import correlations
from analytics.kernels.windows import Panel
from analytics.market import Market
from analytics.money import Ints

MOST = 2000
"""Of more symbols nothing is kept: 14 bytes a pair would be more than 56 MB."""


class NewestPairs:
    """Results of ``kernels.pairs`` by ``pair_keys`` of columns of the panel."""

    def __init__(self, market: Market, factors: Factors) -> None:
        self._market = market
        self._window = factors.correlation
        self._session = -1
        self._make(0)

    def _make(self, width: int) -> None:
        self._known = np.zeros((width, width), bool)
        self._rho = np.zeros(width * width)
        self._n = np.zeros(width * width, np.int32)
        self._reason = np.zeros(width * width, np.uint8)

    def update(self, touches: Touches) -> None:
        """Let go of what changed closes move."""
        moved = np.unique(touches.column[touches.column < len(self._known)])
        self._known[moved] = False
        self._known[:, moved] = False

    def keeps(self, session: int) -> bool:
        """Whether pairs of that session are kept."""
        newest = self._market.last_session
        return session == newest and len(self._market.symbols) <= MOST

    def of(self, panel: Panel, keys: Ints) -> Found:
        """Give every pair of the newest session; those of ``keys`` are right."""
        newest, width = self._market.last_session, panel.values.shape[1]
        if newest != self._session or width != len(self._known):
            self._session = newest
            self._make(width)
        known = self._known.reshape(-1)
        missing = np.unique(keys[~known[keys]])
        if len(missing):
            left, right = np.divmod(missing, width)
            used, place = used_columns(width, left, right)
            block = panel.block(newest, newest + 1, self._window.sessions, used)
            few = correlations(block, place[left], place[right], self._window)
            self._rho[missing], self._n[missing] = few.rho[0], few.n[0]
            self._reason[missing], known[missing] = few.reason[0], True
        whole = bool((self._n[keys] == self._window.sessions).all())
        whole &= not self._reason[keys].any()
        return Found(self._rho, self._n, self._reason, whole)
