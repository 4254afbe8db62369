"""Daily returns of portfolios, kept for the windows of ``twr_volatility``.

A cell is valued when it is asked for and kept until something touches it.
"""

import numpy as np

from analytics.book import Book
from analytics.frame import Frame
from analytics.market import Market
from analytics.money import Bools, Floats, Indices, Ints
from analytics.standing import stand

FIELDS: dict[str, tuple[str, float | int]] = {"value": ("f8", 0.0), "known": ("?", 0)}
CELLS_AT_ONCE = 8192


class OwnReturns:
    """Daily returns over (session, slot): 9 bytes a cell."""

    def __init__(self, book: Book, market: Market) -> None:
        self._book = book
        self._market = market
        self._frame = Frame(FIELDS)

    def forget(self, slot: Indices, low: Ints, high: Ints) -> None:
        """Forget sessions ``low`` to ``high`` of slots."""
        frame = self._frame
        here = slot < frame.columns
        if not frame.rows or not here.any():
            return
        slot, low, high = slot[here], low[here], high[here]
        first = max(int(low.min()), frame.base + 1)
        last = min(int(high.max()), frame.base + frame.rows - 1)
        session = np.arange(first, last + 1)[:, None]
        known = frame["known"][first - frame.base : last + 1 - frame.base]
        known[:, slot] &= (session < low) | (session > high)

    def drop(self, slot: int) -> None:
        """Forget a slot, which will be another portfolio's."""
        if slot < self._frame.columns:
            self._frame["known"][:, slot] = False

    def learn(self, slot: Indices, session: Ints, earned: Floats) -> None:
        """Keep what was computed of cells anyway."""
        frame = self._frame
        frame.cover(int(session.min()), int(session.max()))
        frame.widen(self._book.slots.used)
        row = frame.rows_of(session)
        frame["value"][row, slot] = earned
        frame["known"][row, slot] = True

    def window(self, slot: Indices, session: int, length: int) -> tuple[Floats, Bools]:
        """Give the returns of the ``length`` sessions up to one, and which exist.

        Arrays [length, slots]; none before a portfolio's first session.
        """
        frame, first = self._frame, self._book.slots["first"][slot]
        start = session - length + 1
        frame.cover(max(start, int(first.min())), session)
        frame.widen(self._book.slots.used)
        low = max(start, frame.base + 1)
        rows = slice(low - frame.base, session + 1 - frame.base)
        there = np.arange(low, session + 1)[:, None] >= first
        self._fill(rows, slot, there)
        value = frame["value"][rows, slot]
        present = there & ~np.isnan(value)
        values = np.zeros((length, len(slot)))
        found = np.zeros(values.shape, dtype=bool)
        values[length - len(value) :] = np.where(present, value, 0.0)
        found[length - len(value) :] = present
        return values, found

    def _fill(self, rows: slice, slot: Indices, there: Bools) -> None:
        frame = self._frame
        row, place = np.nonzero(there & ~frame["known"][rows, slot])
        for start in range(0, len(row), CELLS_AT_ONCE):
            part = slice(start, start + CELLS_AT_ONCE)
            at, who = row[part] + rows.start, slot[place[part]]
            made = stand(self._book, self._market, who, at + frame.base)
            frame["value"][at, who] = made.earned
            frame["known"][at, who] = True
