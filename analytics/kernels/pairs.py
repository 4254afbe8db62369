"""Correlation of pairs of symbols (section 8).

Pearson's rho = Sxy/√(Sxx·Syy) of simple returns over the rows of a window where both
exist. A pair is computed once, whoever holds it; both orders of a pair have the
same bits.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.factors import Window
from analytics.kernels.ols import ILL_CENTRED
from analytics.kernels.reasons import Codes, Reason, finite, first, flat, nulled
from analytics.kernels.windows import (
    Block,
    Bools,
    Cells,
    Floats,
    Indices,
    cells_of,
    gathered,
    window_sums,
)

CELLS_AT_ONCE = 24_000


@dataclass(frozen=True, slots=True)
class Pairs:
    """Results of pairs, [sessions, pairs]; rho is NaN where ``reason`` is not 0."""

    rho: Floats
    n: NDArray[np.int32]
    reason: Codes


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over the common rows; ``xx``, ``yy`` raw, the others centred."""

    n: Floats
    xx: Floats
    yy: Floats
    sxx: Floats
    sxy: Floats
    syy: Floats


class Symbols:
    """Sums of each symbol alone, which a pair without gaps uses as they are."""

    def __init__(self, block: Block, length: int) -> None:
        self.block = block.over(length)
        self.length = length
        values = self.block.values
        self.complete: Bools = np.logical_and.reduce(self.block.present, axis=0)
        self.sums = window_sums(values, length)
        self.raw = window_sums(values * values, length)
        self.centred = self.raw - self.sums * self.sums / length
        self.root = np.sqrt(self.centred)
        # No variance is a centred sum far below the raw one, too.
        sound = self.centred >= self.raw * ILL_CENTRED
        usable = sound & (self.centred > 0) & np.isfinite(self.centred)
        self.sound: Bools = self.complete & np.logical_and.reduce(usable, axis=0)


def correlations(block: Block, left: Indices, right: Indices, window: Window) -> Pairs:
    """Correlate pairs of columns in every session.

    Parameters
    ----------
    block
        Returns; ``window.sessions`` rows up to the first session at least.
    left, right
        Columns of each pair.
    window
        Rows used, and how many must be common.

    Returns
    -------
    Pairs
        ``too_few`` common rows, ``constant`` (either has no variance on them),
        ``overflow``. About 0.01 µs a pair and session when sessions are many.
    """
    symbols = Symbols(block, window.sessions)
    shape = (block.sessions, len(left))
    found = Pairs(np.empty(shape), np.empty(shape, np.int32), np.empty(shape, np.uint8))
    width = max(CELLS_AT_ONCE // len(symbols.block.values), 16)
    sound = symbols.sound[left] & symbols.sound[right]
    for chosen, work in ((sound, _sound_tile), (~sound, _any_tile)):
        places = np.flatnonzero(chosen)
        for start in range(0, len(places), width):
            part = places[start : start + width]
            tile = work(symbols, left[part], right[part], window)
            found.rho[:, part], found.n[:, part] = tile.rho, tile.n
            found.reason[:, part] = tile.reason
    return found


def _sound_tile(
    symbols: Symbols, left: Indices, right: Indices, window: Window
) -> Pairs:
    """Correlate pairs that lack no row, of symbols whose sums are as they should be.

    Only the product is the pair's own; the bits are those of ``_any_tile``.
    """
    length, values = symbols.length, symbols.block.values
    product = values.take(left, axis=1)
    product *= values.take(right, axis=1)
    rho = symbols.sums.take(left, axis=1)
    rho *= symbols.sums.take(right, axis=1)
    rho /= length
    np.subtract(window_sums(product, length), rho, out=rho)
    rho /= symbols.root.take(left, axis=1) * symbols.root.take(right, axis=1)
    np.clip(rho, -1.0, 1.0, out=rho)
    reason = np.zeros(rho.shape, np.uint8)
    n = np.full(rho.shape, length, np.int32)
    reason = finite(reason, rho)
    return Pairs(nulled(rho, reason), n, reason)


def _any_tile(symbols: Symbols, left: Indices, right: Indices, window: Window) -> Pairs:
    """Correlate pairs over the rows that both have."""
    x, y = symbols.block.values[:, left], symbols.block.values[:, right]
    there = symbols.block.present
    both = there[:, left] & there[:, right]
    moments = _common(x, y, both.astype(float), symbols.length)
    ill = (moments.sxx < moments.xx * ILL_CENTRED) | (
        moments.syy < moments.yy * ILL_CENTRED
    )
    cells = cells_of(ill & (moments.n >= window.minimum))
    if len(cells[0]):
        _centre_first(moments, x, y, both, symbols.length, cells)
    return _finished(moments, window)


def _common(x: Floats, y: Floats, both: Floats, length: int) -> Moments:
    """Add up the rows that both have."""
    n = window_sums(both, length)
    rows = np.maximum(n, 1.0)
    of_x, of_y = x * both, y * both
    sum_x, sum_y = window_sums(of_x, length), window_sums(of_y, length)
    xx, yy = window_sums(of_x * x, length), window_sums(of_y * y, length)
    return Moments(
        n=n,
        xx=xx,
        yy=yy,
        sxx=xx - sum_x * sum_x / rows,
        sxy=window_sums(x * y, length) - sum_x * sum_y / rows,
        syy=yy - sum_y * sum_y / rows,
    )


def _centre_first(
    moments: Moments,
    x: Floats,
    y: Floats,
    both: Bools,
    length: int,
    cells: Cells,
) -> None:
    """Form the centred sums of some cells from centred returns, in place."""
    there = gathered(both, length, cells)
    n = moments.n[cells]
    offsets = []
    for series in (x, y):
        window = gathered(series, length, cells)
        mean = window_sums(window * there, length)[0] / n
        offsets.append((window - mean) * there)
    dx, dy = offsets
    moments.sxx[cells] = window_sums(dx * dx, length)[0]
    moments.sxy[cells] = window_sums(dx * dy, length)[0]
    moments.syy[cells] = window_sums(dy * dy, length)[0]


def _finished(moments: Moments, window: Window) -> Pairs:
    """Divide, and say what is null."""
    size = np.sqrt(moments.sxx) * np.sqrt(moments.syy)
    rho = np.clip(moments.sxy / size, -1.0, 1.0)
    constant = flat(moments.sxx, moments.xx) | flat(moments.syy, moments.yy)
    reason = first(
        rho.shape,
        (Reason.TOO_FEW, moments.n < window.minimum),
        (Reason.CONSTANT, constant),
    )
    reason = finite(reason, rho, moments.xx, moments.yy)
    return Pairs(nulled(rho, reason), moments.n.astype(np.int32), reason)
