"""Simple returns of every symbol, in a pandas frame of sessions by symbols."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analytics.batch.market import Market

PRICE_UNIT = 1_000_000

Series = NDArray[np.float64]


class Returns:
    """Returns by symbol; NaN where one is missing.

    The frame has a row for every session from the oldest to the newest close, so
    that a gap is a gap: the return over it is missing, never bridged.
    """

    def __init__(self, market: Market) -> None:
        last = -1 if market.newest is None else market.newest
        oldest = [sessions[0] for sessions in market.sessions.values()]
        self.first = min(oldest, default=last + 1)
        index = pd.RangeIndex(self.first, last + 1)
        closes, adjusted = {}, {}
        for symbol, rows in market.prices.items():
            closes[symbol] = pd.Series(
                {t: row.close / PRICE_UNIT for t, row in rows.items()}, dtype=float
            )
            adjusted[symbol] = pd.Series(
                {t: row.adjusted for t, row in rows.items()}, dtype=float
            )
        self.frame = _returns(
            pd.DataFrame(closes, index=index), pd.DataFrame(adjusted, index=index)
        )
        self._columns: dict[str, Series] = {
            symbol: self.frame[symbol].to_numpy() for symbol in self.frame
        }

    def window(self, symbol: str, session: int, length: int) -> Series:
        """Slice ``length`` sessions up to one; NaN before all history."""
        column = self._columns.get(symbol)
        if column is None:
            return np.full(length, np.nan)
        return tail(column, session - self.first + 1, length)


def _returns(closes: pd.DataFrame, adjusted: pd.DataFrame) -> pd.DataFrame:
    """adj_close where both rows have one, else close of both."""
    total = adjusted / adjusted.shift(1)
    plain = closes / closes.shift(1)
    have = closes.notna() & closes.shift(1).notna()
    both = adjusted.notna() & adjusted.shift(1).notna()
    ratio = plain.where(~both, total).where(have)
    return ratio.where(np.isfinite(ratio)) - 1.0


def tail(column: Series, end: int, length: int) -> Series:
    """Slice the ``length`` values before place ``end``; NaN where there are none."""
    start = end - length
    found = column[max(start, 0) : max(end, 0)]
    return np.concatenate([np.full(length - len(found), np.nan), found])
