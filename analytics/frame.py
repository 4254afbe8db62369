"""Growable two-dimensional arrays: sessions down, symbols or portfolios across.

All arrays of a frame have one shape. The window of sessions grows both ways and
the columns to the right, by shares of what is there, so that growth is amortised.
Row 0 is never used: a session before the window is looked up there.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.money import Indices

SLACK = 16


class Frame:
    """Named arrays over (session, column).

    Parameters
    ----------
    fields
        Name to (dtype, value of an empty cell).
    """

    def __init__(self, fields: Mapping[str, tuple[str, float | int]]) -> None:
        self._fields = dict(fields)
        self.base = 0
        self.rows = 0
        self.columns = 0
        self._arrays: dict[str, NDArray[Any]] = {}
        self._allocate(0, 0, 0)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    @property
    def fields(self) -> list[str]:
        """Names of the arrays."""
        return list(self._fields)

    def row(self, session: int) -> int:
        """Row of a session; 0, which is empty, for one outside the window."""
        row = session - self.base
        return row if 0 < row < self.rows else 0

    def rows_of(self, sessions: NDArray[np.integer]) -> Indices:
        """Rows of sessions, none of them behind the window."""
        rows: Indices = np.maximum(sessions - self.base, 0).astype(np.intp)
        return rows

    def cover(self, first: int, last: int) -> None:
        """Make the window hold the sessions ``first`` to ``last``."""
        if self.rows == 0:
            self._allocate(first - SLACK, last - first + 2 * SLACK, self.columns)
            return
        low, high = self.base + 1, self.base + self.rows - 1
        if low <= first and last <= high:
            return
        spare = SLACK + self.rows // 4
        base = self.base if low <= first else first - spare
        end = high if last <= high else last + spare
        self._allocate(base, end - base + 1, self.columns)

    def widen(self, columns: int) -> None:
        """Make room for so many columns."""
        if columns > self.columns:
            self._allocate(self.base, self.rows, max(2 * self.columns, columns, 64))

    def _allocate(self, base: int, rows: int, columns: int) -> None:
        down = self.base - base if self.rows else 0
        for name, (dtype, empty) in self._fields.items():
            grown = np.full((rows, columns), empty, dtype=dtype)
            if self.rows:
                old = self._arrays[name]
                grown[down : down + self.rows, : self.columns] = old
            self._arrays[name] = grown
        self.base, self.rows, self.columns = base, rows, columns
