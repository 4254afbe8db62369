"""Volatilities of returns, and where today's stands among the last (section 7).

A volatility is the sample standard deviation (n - 1) of simple returns, times
√252: a year's, in units of return. The trend is the least-squares slope of the last
21 values of the shortest volatility on the session's number; the percentile is the
rank of today's among the last 232, ties counting a half.

Sources: Hull, Options, Futures, and Other Derivatives, section 15.4; ISO 3534-1
(sample variance).
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from analytics.factors import Window
from analytics.kernels.ols import FEW_CELLS, ILL_CENTRED
from analytics.kernels.reasons import Codes, Reason, finite, first, flat, nulled
from analytics.kernels.windows import (
    Block,
    Bools,
    Floats,
    Ints,
    cells_of,
    gathered,
    slides,
    sums_and_squares,
    window_sums,
)

EQUAL = 1e-12
"""Two volatilities are equal within this part of them."""


@dataclass(frozen=True, slots=True)
class Volatility:
    """Annualised values [sessions, series]; NaN where ``reason`` is not 0."""

    value: Floats
    n: Ints
    reason: Codes


@dataclass(frozen=True, slots=True)
class Trend:
    """Of a volatility, [sessions, series].

    ``slope`` is in annualised volatility a session; ``strength`` is R², null
    (``constant``) where all values are equal; ``direction`` is 1, 0 (stable, or
    null) or -1.
    """

    slope: Floats
    strength: Floats
    direction: NDArray[np.int8]
    reason: Codes
    strength_reason: Codes


@dataclass(frozen=True, slots=True)
class Percentile:
    """Rank of today's volatility, 0 to 100, among ``n`` values."""

    value: Floats
    n: Ints
    reason: Codes


def annualised(block: Block, window: Window, year: int) -> Volatility:
    """Volatility of every series in every session.

    Parameters
    ----------
    block
        Returns; ``block.sessions + window.sessions - 1`` rows at least.
    window
        Returns used, and how many must exist.
    year
        Sessions of a year.

    Returns
    -------
    Volatility
        ``too_few`` below the minimum, ``overflow``. Equal returns have a volatility
        of 0 if they are 0, else of 0 to rounding.
    """
    value, n = _deviations(block.over(window.sessions), window, year)
    shape = value.shape
    reason = first(shape, (Reason.TOO_FEW, n < window.minimum))
    reason = finite(reason, value)
    counted = np.broadcast_to(n, shape).astype(np.int64)
    return Volatility(nulled(value, reason), counted, reason)


def _deviations(part: Block, window: Window, year: int) -> tuple[Floats, Floats]:
    """Annualised deviations, also where too few; n is one number if all exist."""
    length, r = window.sessions, part.values
    total, squares = sums_and_squares(r, length)
    n = counts(part, length)
    some = np.maximum(n, 2.0)
    centred = total * total
    centred /= some
    np.subtract(squares, centred, out=centred)
    squares *= ILL_CENTRED
    ill = centred < squares
    if ill.any():
        cells = cells_of(ill)
        there = gathered(part.present, length, cells)
        returns = gathered(r, length, cells)
        rows = np.broadcast_to(some, ill.shape)[cells]
        offset = (returns - window_sums(returns, length)[0] / rows) * there
        centred[cells] = window_sums(offset * offset, length)[0]
    centred /= some - 1.0
    np.sqrt(centred, out=centred)
    centred *= sqrt(year)
    return centred, n


def counts(block: Block, length: int) -> Floats:
    """Count the returns of every window; one number, [1, 1], if all exist."""
    if block.complete:
        return np.full((1, 1), float(length))
    return window_sums(block.present.astype(float), length)


def history(block: Block, window: Window, year: int, sessions: int) -> Block:
    """Volatilities of the ``sessions`` sessions up to each one wanted, as a block.

    ``block`` has ``window.sessions - 1`` rows before those.
    """
    value, n = _deviations(block, window, year)
    exists = np.isfinite(value) & (n >= window.minimum)
    if not exists.all():
        value = np.where(exists, value, 0.0)
    return Block(value, exists, block.sessions)


def trend(values: Block, window: Window, slope: float, r2: float) -> Trend:
    """Slope of the last values of a volatility on the number of the session.

    Parameters
    ----------
    values
        From ``history``.
    window
        Values used, and how many must exist, else ``too_few``; ``overflow`` where
        their squares do not fit.
    slope, r2
        A trend is steeper than ``slope`` a session and has R² above ``r2``.
    """
    length = window.sessions
    part = values.over(length)
    v, there = slides(part.values, length), slides(part.present, length)
    number = np.arange(float(length))[:, None, None]
    n = _folded(there.astype(float))
    rows = np.maximum(n, 1.0)
    mean = _folded(v) / rows
    middle = _folded(number * there) / rows
    dv, du = (v - mean) * there, (number - middle) * there
    suu, suv, svv = _folded(du * du), _folded(du * dv), _folded(dv * dv)
    raw, squares = _folded(v * v), suu * svv
    constant = flat(svv, raw)
    steep = np.where(constant, 0.0, suv / np.where(suu > 0, suu, 1.0))
    strength = np.minimum(suv * suv / np.where(constant, 1.0, squares), 1.0)
    reason = first(n.shape, (Reason.TOO_FEW, n < window.minimum))
    reason = finite(reason, steep, raw, squares)
    equal = (reason == 0) & constant
    strength_reason = np.where(equal, np.uint8(Reason.CONSTANT), reason)
    clear = (strength_reason == 0) & (strength > r2) & (np.abs(steep) > slope)
    return Trend(
        slope=nulled(steep, reason),
        strength=nulled(strength, strength_reason),
        direction=np.where(clear, np.sign(steep), 0.0).astype(np.int8),
        reason=reason,
        strength_reason=strength_reason,
    )


def _folded(windows: Floats) -> Floats:
    """Sum over the first axis, in the canonical order."""
    total: Floats = window_sums(windows, len(windows))[0]
    return total


def percentile(values: Block, window: Window) -> Percentile:
    """100·(#less + #equal/2)/# of today's value among the last ones.

    Parameters
    ----------
    values
        From ``history``.
    window
        Values used, today's included, and how many must exist, else ``too_few``;
        without today's ``recent_gap``.
    """
    length = window.sessions
    part = values.over(length)
    today = part.values[-part.sessions :]
    n = counts(part, length)
    found = part.values
    if not part.complete:
        found = np.where(part.present, found, np.inf)
    below = _counted(found, length, today * (1.0 - EQUAL), strictly=True)
    up_to = _counted(found, length, today * (1.0 + EQUAL), strictly=False)
    rank = 50.0 * (below + up_to) / np.maximum(n, 1.0)
    reason = first(
        rank.shape,
        (Reason.TOO_FEW, n < window.minimum),
        (Reason.RECENT_GAP, ~part.present[-part.sessions :]),
    )
    counted = np.broadcast_to(n, rank.shape).astype(np.int64)
    return Percentile(nulled(rank, reason), counted, reason)


def _counted(values: Floats, length: int, bound: Floats, *, strictly: bool) -> Ints:
    """Values of each window below (or up to) its bound: integers, any order."""
    compare = np.less if strictly else np.less_equal
    if bound.shape[0] == 1 or bound.size <= FEW_CELLS:
        hits: Bools = compare(slides(values, length), bound)
        found: Ints = np.add.reduce(hits, axis=0, dtype=np.int64)
        return found
    total = np.zeros(bound.shape, np.int16)
    hit: Bools = np.empty(bound.shape, bool)
    for row in range(length):
        compare(values[row : row + len(bound)], bound, out=hit)
        np.add(total, hit, out=total)
    return total.astype(np.int64)
