"""Simple returns of every symbol and session, kept beside the closes.

A close that changes moves two returns: its own and that of the session after it.
"""

import numpy as np

from analytics.changed import Touches
from analytics.frame import Frame
from analytics.kernels.windows import Panel, returns
from analytics.market import Market
from analytics.money import Indices, Ints

FIELDS: dict[str, tuple[str, float | int]] = {"value": ("f8", 0.0), "there": ("?", 0)}


class Returns:
    """Returns of a market; 9 bytes a cell.

    ``update`` must be told of every change of a close, ``rebuild`` of a restore.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self._frame = Frame(FIELDS)

    @property
    def panel(self) -> Panel:
        """What the kernels read; a view, valid until the next change."""
        frame = self._frame
        frame.widen(len(self._market.symbols))
        return Panel(frame["value"], frame["there"], frame.base)

    def update(self, touches: Touches) -> None:
        """Compute the returns that changed closes move."""
        session = np.concatenate([touches.session, touches.session + 1])
        self._compute(session, np.concatenate([touches.column, touches.column]))

    def rebuild(self) -> None:
        """Compute all of them."""
        closes = self._market.frame
        if closes.rows:
            row, column = np.nonzero(self._market.close)
            day = row + closes.base
            self._compute(
                np.concatenate([day, day + 1]), np.concatenate([column, column])
            )

    def _compute(self, session: Ints, column: Indices) -> None:
        market, frame = self._market, self._frame
        low, high = market.frame.base, market.frame.base + market.frame.rows
        frame.cover(low + 1, high - 1)
        frame.widen(len(market.symbols))
        inside = session < high
        session, column = session[inside], column[inside]
        now, ahead = market.frame.rows_of(session), market.frame.rows_of(session - 1)
        close, adj = market.close, market.adj
        value, there = returns(
            close[now, column],
            adj[now, column],
            close[ahead, column],
            adj[ahead, column],
        )
        row = frame.rows_of(session)
        frame["value"][row, column] = value
        frame["there"][row, column] = there
