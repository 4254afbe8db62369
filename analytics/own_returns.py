"""Daily returns of portfolios, kept for the windows of ``twr_volatility``.

A cell is valued when it is asked for and kept until something touches it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analytics.book import Book
from analytics.frame import Frame
from analytics.kernels.aggregate import PORTFOLIOS_AT_ONCE
from analytics.kernels.windows import Block
from analytics.market import Market
from analytics.money import Bools, Floats, Indices, Ints
from analytics.standing import runs, stand

SPARSE = 4
"""A rectangle of which a smaller part is asked for is taken session by session."""

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
        if not len(slot):
            return
        frame = self._frame
        frame.cover(int(session.min()), int(session.max()))
        frame.widen(self._book.slots.used)
        row = frame.rows_of(session)
        frame["value"][row, slot] = earned
        frame["known"][row, slot] = True

    def block(self, slot: Indices, start: int, stop: int, length: int) -> Block:
        """Give the returns that windows of sessions ``start <= t < stop`` hold.

        ``length`` rows up to the first session, then one for each other. None exist
        before a portfolio's first session.
        """
        frame, first = self._frame, self._book.slots["first"][slot]
        begin = start - length + 1
        frame.cover(max(begin, int(first.min())), stop - 1)
        frame.widen(self._book.slots.used)
        low = max(begin, frame.base + 1)
        rows = slice(low - frame.base, stop - frame.base)
        there = np.arange(low, stop)[:, None] >= first
        self._fill(rows, slot, there)
        value = frame["value"][rows, slot]
        present = there & ~np.isnan(value)
        values = np.zeros((stop - begin, len(slot)))
        found = np.zeros(values.shape, dtype=bool)
        values[low - begin :] = np.where(present, value, 0.0)
        found[low - begin :] = present
        return Block(values, found, stop - start)

    def _fill(self, rows: slice, slot: Indices, there: Bools) -> None:
        frame = self._frame
        row, place = np.nonzero(there & ~frame["known"][rows, slot])
        for start in range(0, len(row), CELLS_AT_ONCE):
            part = slice(start, start + CELLS_AT_ONCE)
            at, who = row[part] + rows.start, slot[place[part]]
            made = stand(self._book, self._market, who, at + frame.base)
            frame["value"][at, who] = made.earned
            frame["known"][at, who] = True


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Cells that share their windows.

    Attributes
    ----------
    places
        The cells, of all.
    slots, start, stop
        Portfolios, and sessions ``start <= t < stop``.
    down, across
        Place of each cell's session and slot among them.
    """

    places: Indices
    slots: Indices
    start: int
    stop: int
    down: Indices
    across: Indices


def rectangles(slot: Indices, session: Ints) -> Iterator[Rectangle]:
    """Lay cells, which are sorted by session, in rectangles that are not too sparse.

    Examples
    --------
    >>> slot, session = np.array([5, 5, 8, 8]), np.array([1, 2, 2, 9])
    >>> [(r.places.tolist(), r.start, r.stop) for r in rectangles(slot, session)]
    [([0, 1, 2], 1, 3), ([3], 9, 10)]
    """
    for near in runs(session, 1):
        days = session[near]
        height = int(days[-1] - days[0]) + 1
        width = len(np.unique(slot[near]))
        parts = [near]
        if len(days) * SPARSE < height * width:
            low = near.start
            parts = [slice(low + r.start, low + r.stop) for r in runs(days)]
        for part in parts:
            yield from _wide(slot, session, part)


def _wide(slot: Indices, session: Ints, part: slice) -> Iterator[Rectangle]:
    """Cut a rectangle into parts of so many portfolios."""
    start, stop = int(session[part][0]), int(session[part][-1]) + 1
    slots, across = np.unique(slot[part], return_inverse=True)
    for left in range(0, len(slots), PORTFOLIOS_AT_ONCE):
        right = left + PORTFOLIOS_AT_ONCE
        chosen = np.flatnonzero((across >= left) & (across < right))
        places = chosen + part.start
        yield Rectangle(
            places=places,
            slots=slots[left:right],
            start=start,
            stop=stop,
            down=(session[places] - start).astype(np.intp),
            across=across[chosen] - left,
        )
