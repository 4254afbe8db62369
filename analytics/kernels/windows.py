"""Returns, and the one order in which a window of them is reduced.

The rule that every kernel keeps: a published double is a function of the numbers
in its window and of nothing else, to the last bit. numpy's ``+ - * /`` and
``sqrt`` on arrays are correctly rounded element by element, so they may be used on
any shape. ``np.sum``, ``np.mean``, ``@``, ``einsum``, ``cumsum`` differences,
``np.exp`` and ``np.log`` may not: their association, their code path or what they
carry from one window to the next depends on shape, strides or threads.

Sums over a window go through ``window_sums``: neighbours are added, then
neighbouring pairs, then pairs of pairs, and what does not pair is added from the
right. That tree depends on the window's length alone, and every node of it is a
sum of inputs of that window: nothing is ever subtracted, so nothing that has left
can stay behind. Windows that overlap share nodes, which is why all windows of a
range cost about log2(w) additions each, not w.

Missing returns are 0.0 with ``present`` False. Adding a zero changes no bit, so a
cell with all its returns has the same bits on the masked and on the unmasked way.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Indices = NDArray[np.intp]
Cells = tuple[Indices, Indices]

PRICE_UNIT = 1e6


@dataclass(frozen=True, slots=True)
class Block:
    """Returns of some symbols in the rows that some sessions depend on.

    Attributes
    ----------
    values
        [rows, symbols], C order, 0.0 where missing. The last row is that of the
        last session.
    present
        The same shape.
    sessions
        Sessions for which results are wanted: the last so many rows.
    """

    values: Floats
    present: Bools
    sessions: int

    @property
    def complete(self) -> bool:
        """Whether no return is missing."""
        return bool(self.present.all())

    def over(self, window: int) -> "Block":
        """Keep the rows on which windows of this length depend."""
        start = len(self.values) - (self.sessions + window - 1)
        return Block(self.values[start:], self.present[start:], self.sessions)

    def columns(self, chosen: Indices | slice) -> "Block":
        """Keep some columns."""
        if isinstance(chosen, slice):
            values = np.ascontiguousarray(self.values[:, chosen])
            present = np.ascontiguousarray(self.present[:, chosen])
        else:
            # In C order at once; an index makes a copy in the other order first.
            values = self.values.take(chosen, axis=1)
            present = self.present.take(chosen, axis=1)
        return Block(values, present, self.sessions)

    def runs(self, start: int, stop: int) -> "Block":
        """Keep the sessions ``start <= t < stop`` of those wanted."""
        last = len(self.values) - self.sessions + stop
        return Block(self.values[:last], self.present[:last], stop - start)


@dataclass(frozen=True, slots=True)
class Panel:
    """Simple returns of every symbol in every session that is held.

    The arrays may be changed in place between two calls. 9 bytes a cell: 54 MB for
    10 000 symbols x 600 sessions.

    Attributes
    ----------
    values, present
        [rows, symbols], 0.0 and False where missing; row 0 is session ``first``.
    first
        Sessions before it have no returns.
    """

    values: Floats
    present: Bools
    first: int = 0

    def block(
        self, start: int, stop: int, reach: int, columns: Indices | slice = slice(None)
    ) -> Block:
        """Copy what the sessions ``start <= t < stop`` depend on.

        Returns
        -------
        Block
            ``stop - start + reach - 1`` rows: the ``reach`` returns up to
            ``start``, then one more for each session.

        Raises
        ------
        IndexError
            The panel does not reach to the last session.
        """
        low, high = start - reach + 1 - self.first, stop - self.first
        if high > len(self.values):
            msg = f"session {stop - 1} is not in the panel"
            raise IndexError(msg)
        kept = slice(min(max(low, 0), max(high, 0)), max(high, 0))
        missing = high - low - (kept.stop - kept.start)
        found = Block(self.values[kept], self.present[kept], stop - start)
        block = found.columns(columns)
        if not missing:
            return block
        pad = ((missing, 0), (0, 0))
        return Block(
            np.pad(block.values, pad), np.pad(block.present, pad), block.sessions
        )


def returns(
    close: Ints, adjusted: Floats, before: Ints, adjusted_before: Floats
) -> tuple[Floats, Bools]:
    """Form simple returns between two sessions: ``a / b - 1``.

    Parameters
    ----------
    close, before
        Closes of a session and of the session before it, in 1e-6; 0 where there is
        no row. Any shape.
    adjusted, adjusted_before
        Their adj_close; NaN where there is none.

    Returns
    -------
    values, present
        Of adj_close where both rows have one, else of close where both rows exist,
        else 0.0 and False. A ratio that is not finite is missing.

    Examples
    --------
    >>> none = np.array([np.nan, np.nan])
    >>> close, before = np.array([50_500_000, 1]), np.array([50_000_000, 0])
    >>> returns(close, none, before, none)
    (array([0.01, 0.  ]), array([ True, False]))
    """
    exist = (close > 0) & (before > 0)
    total = exist & ~np.isnan(adjusted) & ~np.isnan(adjusted_before)
    now = np.where(total, adjusted, close / PRICE_UNIT)
    then = np.where(total, adjusted_before, before / PRICE_UNIT)
    with np.errstate(over="ignore", under="ignore"):
        ratio = np.divide(now, then, out=np.full(exist.shape, np.inf), where=exist)
    present = np.isfinite(ratio)
    return np.where(present, ratio - 1.0, 0.0), present


def panel(close: Ints, adjusted: Floats, first: int = 0) -> Panel:
    """Form the returns of closes [sessions, symbols]; units as in ``returns``.

    The first session has none, as nothing is known before it.
    """
    values = np.zeros(close.shape)
    present = np.zeros(close.shape, bool)
    values[1:], present[1:] = returns(
        close[1:], adjusted[1:], close[:-1], adjusted[:-1]
    )
    return Panel(values, present, first)


def window_sums(series: Floats, length: int) -> Floats:
    """Add up every window of ``length`` rows, in the canonical order.

    Parameters
    ----------
    series
        [sessions + length - 1, ...], finite.

    Returns
    -------
    ndarray
        [sessions, ...]; row t is the sum of rows t … t + length - 1.

    Examples
    --------
    >>> window_sums(np.arange(6.0), 4)
    array([ 6., 10., 14.])
    """
    if len(series) == length:
        return fold(series.take(folding(length), axis=0))
    return several_sums(series, (length,))[0]


def sums_and_squares(series: Floats, length: int) -> tuple[Floats, Floats]:
    """``window_sums`` of a series and of its squares."""
    if len(series) != length:
        return window_sums(series, length), window_sums(series * series, length)
    rows = series.take(folding(length), axis=0)
    squares = rows * rows
    return fold(rows), fold(squares)


def several_sums(series: Floats, lengths: tuple[int, ...]) -> list[Floats]:
    """Add up the windows of several lengths, which share what they can.

    Bits as those of ``window_sums`` for each length.
    """
    tails: list[Floats | None] = [None] * len(lengths)
    nodes, size, longest = series, 1, max(lengths)
    while size <= longest:
        for i, length in enumerate(lengths):
            count = length // size
            if count % 2:
                start = (count - 1) * size
                piece = nodes[start : start + len(series) - length + 1]
                tail = tails[i]
                tails[i] = piece if tail is None else piece + tail
        if longest >= 2 * size:
            nodes = nodes[:-size] + nodes[size:]
        size *= 2
    return [_owned(tail, series) for tail in tails]


@cache
def folding(length: int) -> Indices:
    """Order of a window's rows in which neighbours to add are halves to add.

    ``fold`` of rows in this order is the canonical sum, and all its additions run on
    in memory.

    Examples
    --------
    >>> folding(6).tolist()  # 0 + 1, 2 + 3, 4 + 5; the last from the right
    [0, 2, 4, 1, 3, 5]
    """
    if length == 1:
        return np.zeros(1, np.intp)
    pairs = 2 * folding(length // 2)
    return np.concatenate([pairs, pairs + 1, np.arange(length // 2 * 2, length)])


def fold(rows: Floats) -> Floats:
    """Add up, in place, a window with its rows in the order of ``folding``: [1, …]."""
    tail: Floats | None = None
    count = len(rows)
    while count > 1:
        half = count // 2
        if count % 2:
            piece = rows[count - 1 : count]
            tail = piece if tail is None else piece + tail
        first = rows[:half]
        np.add(first, rows[half : 2 * half], out=first)
        count = half
    return rows[:1].copy() if tail is None else rows[:1] + tail


def _owned(result: Floats | None, series: Floats) -> Floats:
    """Insist on a result that does not share the input's memory."""
    if result is None:
        msg = "a window of no rows"
        raise ValueError(msg)
    return result.copy() if np.may_share_memory(result, series) else result


def gathered(series: NDArray[Any], length: int, cells: Cells) -> NDArray[Any]:
    """Windows of single cells.

    Parameters
    ----------
    series
        [sessions + length - 1, symbols].
    cells
        Sessions and symbols (indices) of K cells.

    Returns
    -------
    ndarray
        [length, K].
    """
    sessions, symbols = cells
    found: NDArray[Any] = series[sessions + np.arange(length)[:, None], symbols]
    return found


def cells_of(where: Bools) -> Cells:
    """Sessions and symbols of the cells where ``where`` holds."""
    sessions, symbols = np.nonzero(where)
    return sessions, symbols


def slides(series: NDArray[Any], length: int) -> NDArray[Any]:
    """View every window of ``length`` rows: [length, sessions, ...], read-only."""
    if len(series) == length:
        return series[:, None]
    return np.moveaxis(sliding_window_view(series, length, axis=0), -1, 0)
