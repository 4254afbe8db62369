"""Betas and loadings of symbols, as portfolios are aggregated from them.

Those of the newest session are kept, and what they are regressed on: a tick moves
those of one symbol, and its holders need those of all their names. A close that changes
lets go of its column, one of a factor of all.
"""

from collections.abc import Sequence

import numpy as np

from analytics.changed import Touches
from analytics.factors import Factors
from analytics.kernels.aggregate import Holdings
from analytics.kernels.symbols import Regressors, Statistics, symbol_betas
from analytics.kernels.windows import Panel
from analytics.market import Market
from analytics.money import Bools, Indices, Ints


class Loads:
    """Fields of ``factor_keys`` by session and column of the panel.

    Keeps 9 bytes a factor and symbol.
    """

    def __init__(self, market: Market, factors: Factors) -> None:
        self._market = market
        self._factors = factors
        self._session = -1
        self._known: Bools = np.zeros(0, dtype=bool)
        self._kept: Statistics = {}
        self._regressors: tuple[int, Regressors] | None = None

    def update(self, touches: Touches) -> None:
        """Let go of what changed closes move."""
        factors = [self._market.columns.get(name) for name in self._factors.symbols]
        moved = touches.column[touches.column < len(self._known)]
        self._known[moved] = False
        if np.isin(touches.column, [c for c in factors if c is not None]).any():
            self.clear()

    def clear(self) -> None:
        """Let go of everything."""
        self._known[:] = False
        self._regressors = None

    def regressors(self, panel: Panel, start: int, stop: int) -> Regressors:
        """Give the returns of the factors for a run of sessions."""
        newest = self._market.last_session
        kept = self._regressors
        if kept is not None and kept[0] == start == stop - 1 == newest:
            return kept[1]
        columns = self._market.columns
        made = Regressors(panel, start, stop, self._factors, columns)
        if start == stop - 1 == newest:
            self._regressors = (newest, made)
        return made

    def learn(self, sessions: Ints, columns: Indices, statistics: Statistics) -> None:
        """Keep what was computed of symbols, if the newest session is among it."""
        newest = self._market.last_session
        if sessions[-1] != newest or not self._kept or self._session != newest:
            return
        inside = columns < len(self._known)
        at = columns[inside]
        for name, kept in self._kept.items():
            kept[:, at] = statistics[name][-1:, inside]
        self._known[at] = True

    def of(self, held: Sequence[Holdings], panel: Panel) -> Statistics:
        """Give what holdings need, arrays [len(held), columns of the panel]."""
        used = np.unique(np.concatenate([names.columns for names in held]))
        sessions = np.array([names.session for names in held])
        width = panel.values.shape[1]
        if len(held) == 1 and held[0].session == self._market.last_session:
            return self._newest(panel, sessions, used)
        return _whole(self._compute(panel, sessions, used), used, (len(held), width))

    def _compute(self, panel: Panel, sessions: Ints, used: Indices) -> Statistics:
        return symbol_betas(
            panel,
            sessions,
            used,
            self._factors,
            self._market.columns,
            lambda start, stop: self.regressors(panel, start, stop),
        )

    def _newest(self, panel: Panel, sessions: Ints, used: Indices) -> Statistics:
        width = panel.values.shape[1]
        if int(sessions[0]) != self._session or width != len(self._known):
            self._session = int(sessions[0])
            self._known = np.zeros(width, dtype=bool)
            self._kept = {}
        missing = used[~self._known[used]]
        if len(missing) or not self._kept:
            few = self._compute(panel, sessions, missing)
            if not self._kept:
                self._kept = _whole(few, missing, (1, width))
            for name, values in few.items():
                self._kept[name][:, missing] = values
            self._known[missing] = True
        return self._kept


def _whole(few: Statistics, used: Indices, shape: tuple[int, int]) -> Statistics:
    """Put columns in their places among all."""
    found: Statistics = {}
    for name, values in few.items():
        found[name] = np.zeros(shape, values.dtype)
        found[name][:, used] = values
    return found
