"""Ordinary least squares of one return on another, with intercept (section 5).

Over the rows of a window where both returns exist: beta = Sxy/Sxx, alpha =
ȳ - beta·x̄, R² = 1 - SSE/Syy, SE = √(SSE/(n - 2)/Sxx), p two-sided of Student's t
with n - 2 degrees of freedom. SSE is formed from residuals.

The centred sums come from raw ones (Sxx = Σx² - n·x̄²) while that loses at most two
bits, which is so for returns but for the calmest; a cell where a mean outweighs the
spread is centred first and summed afterwards. Which way is taken depends on the
cell's own numbers.

Source: Draper and Smith, Applied Regression Analysis, chapter 1.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analytics.factors import Window
from analytics.kernels.intercept import FAR, exact_product, intercepts
from analytics.kernels.reasons import (
    NO_VARIANCE,
    Codes,
    Reason,
    finite,
    first,
    flat,
    nulled,
)
from analytics.kernels.student import p_values
from analytics.kernels.windows import (
    Block,
    Bools,
    Cells,
    Floats,
    Ints,
    cells_of,
    gathered,
    slides,
    window_sums,
)

ILL_CENTRED = 0.25
"""Below this part the raw sums have lost two bits, and the cell is centred first."""

FEW_CELLS = 512

WILD = 1.0
"""Means beyond it cancel in an alpha more digits than it may lose."""

LARGE = 1e150
"""Squares of less, and sums of 5 000 of them, are doubles."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Window of a regression, returns its regressor needs, cap of beta."""

    window: Window
    history: int
    cap: float


@dataclass(frozen=True, slots=True)
class Regression:
    """Results of a regression, each [sessions, symbols].

    NaN where ``reason`` is not 0. ``n`` always counts the common rows. ``beta`` is
    clipped to ±cap where ``clipped``; all else follows from the unclipped one.
    """

    beta: Floats
    alpha: Floats
    r2: Floats
    se: Floats
    p: Floats
    n: Ints
    clipped: Bools
    reason: Codes


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over the common rows of each window, [sessions, symbols].

    ``xx`` and ``yy`` are raw, the others centred.
    """

    n: Floats
    mean_x: Floats
    mean_y: Floats
    xx: Floats
    yy: Floats
    sxx: Floats
    sxy: Floats
    syy: Floats

    @property
    def ill(self) -> Bools:
        """Cells whose centred sums have lost digits."""
        return (self.sxx < self.xx * ILL_CENTRED) | (self.syy < self.yy * ILL_CENTRED)

    @property
    def constant(self) -> Bools:
        """Cells where one of the two has no variance."""
        return flat(self.sxx, self.xx) | flat(self.syy, self.yy)


class Target:
    """Dependent returns; their own sums are kept for the next regressor."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self._sums: dict[int, tuple[Floats, Floats]] = {}

    def sums(self, window: int) -> tuple[Floats, Floats]:
        """Σy and Σy² of every window, over all rows that have y."""
        if window not in self._sums:
            y = self.block.over(window).values
            self._sums[window] = window_sums(y, window), window_sums(y * y, window)
        return self._sums[window]


@dataclass(frozen=True, slots=True)
class Line:
    """A fitted line and its rows; ``reason`` is as yet without overflow."""

    y: Block
    x: Block
    common: Floats | None
    moments: Moments
    beta: Floats
    alpha: Floats
    reason: Codes

    def residual_squares(self) -> Floats:
        """SSE of every window."""
        rows = self.y.values, self.x.values, self.common
        return residual_squares(*rows, self.alpha, self.beta)

    @property
    def tame(self) -> bool:
        """Whether every residual is so small that no SSE can leave a double."""
        known = self.reason == 0
        slope, level = (
            np.abs(np.where(known, v, 0.0)) for v in (self.beta, self.alpha)
        )
        x, y = np.abs(self.x.values).max(), np.abs(self.y.values).max()
        # Written so that NaN is not tame.
        return bool(y + slope.max() * x + level.max() < LARGE)


def regress(target: Target, factor: Block, rule: Rule) -> Regression:
    """Regress every symbol on one factor, in every session.

    Parameters
    ----------
    target
        Returns of the symbols.
    factor
        Returns of the factor, one column, rows as in the target.
    rule
        Window, minima, cap.

    Returns
    -------
    Regression
        Null by ``no_factor_history`` (the factor has fewer than ``history``
        returns in the window), ``too_few`` (fewer than ``minimum`` common rows),
        ``constant`` (either without variance on them), ``overflow`` (squares
        beyond a double).
    """
    line = _line(target, factor, rule)
    sse = line.residual_squares()
    reason = finite(line.reason, line.beta, sse)
    return _finished(line.moments, line.beta, line.alpha, sse, reason, rule.cap)


def slopes(target: Target, factor: Block, rule: Rule) -> tuple[Floats, Codes]:
    """Beta and reason alone, bits as of ``regress``: a third of its cost."""
    line = _line(target, factor, rule)
    others = () if line.tame else (line.residual_squares(),)
    reason = finite(line.reason, line.beta, *others)
    return nulled(np.clip(line.beta, -rule.cap, rule.cap), reason), reason


def _line(target: Target, factor: Block, rule: Rule) -> Line:
    length = rule.window.sessions
    y = target.block.over(length)
    factor = factor.over(length)
    had = window_sums(factor.present.astype(float), length)
    x = _widened(factor, y.values.shape[1])
    complete = y.complete and factor.complete
    common = None if complete else (y.present & x.present).astype(float)
    moments = _moments(target, factor, x, common, length)
    known = (moments.n >= rule.window.minimum) & (had >= rule.history)
    ill = cells_of(moments.ill & known)
    if len(ill[0]):
        moments = _centred_first(moments, y, x, length, ill)
    beta = moments.sxy / moments.sxx
    alpha = moments.mean_y - beta * moments.mean_x
    reason = first(
        beta.shape,
        (Reason.NO_FACTOR_HISTORY, had < rule.history),
        (Reason.TOO_FEW, moments.n < rule.window.minimum),
        (Reason.CONSTANT, moments.constant),
    )
    reason = finite(reason, moments.xx, moments.yy)
    size = np.maximum(np.abs(moments.mean_y), np.abs(beta * moments.mean_x))
    wild = cells_of((size > WILD) & (reason == 0))
    if len(wild[0]):
        alpha[wild] = _intercept(moments, y, x, beta[wild], size[wild], wild)
    return Line(y, x, common, moments, beta, alpha, reason)


def _widened(factor: Block, symbols: int) -> Block:
    """Repeat a column for each symbol, so that products run on in memory."""
    shape = (len(factor.values), symbols)
    return Block(
        np.ascontiguousarray(np.broadcast_to(factor.values, shape)),
        np.ascontiguousarray(np.broadcast_to(factor.present, shape)),
        factor.sessions,
    )


def _moments(
    target: Target, factor: Block, x: Block, common: Floats | None, length: int
) -> Moments:
    """Sum over the common rows; ``common`` is None when no row is missing."""
    y = target.block.over(length).values
    xy = window_sums(x.values * y, length)
    if common is None:
        n = np.full(xy.shape, float(length))
        sums_y, sums_yy = target.sums(length)
        sums_x = window_sums(factor.values, length)
        sums_xx = window_sums(factor.values * factor.values, length)
    else:
        n = window_sums(common, length)
        of_y, of_x = y * common, x.values * common
        sums_y, sums_yy = window_sums(of_y, length), window_sums(of_y * y, length)
        sums_x = window_sums(of_x, length)
        sums_xx = window_sums(of_x * x.values, length)
    rows = np.maximum(n, 1.0)
    mean_x, mean_y = sums_x / rows, sums_y / rows
    return Moments(
        n=n,
        mean_x=mean_x,
        mean_y=mean_y,
        xx=sums_xx,
        yy=sums_yy,
        sxx=sums_xx - sums_x * mean_x,
        sxy=xy - sums_x * mean_y,
        syy=sums_yy - sums_y * mean_y,
    )


def _centred_first(
    moments: Moments, y: Block, x: Block, length: int, cells: Cells
) -> Moments:
    """Form the centred sums of some cells from centred returns."""
    both = gathered(y.present & x.present, length, cells)
    rows = moments.n[cells]
    window_y = gathered(y.values, length, cells)
    window_x = gathered(x.values, length, cells)
    mean_x = window_sums(window_x * both, length)[0] / rows
    mean_y = window_sums(window_y * both, length)[0] / rows
    dx, dy = (window_x - mean_x) * both, (window_y - mean_y) * both
    better = {
        "mean_x": mean_x,
        "mean_y": mean_y,
        "sxx": window_sums(dx * dx, length)[0],
        "sxy": window_sums(dx * dy, length)[0],
        "syy": window_sums(dy * dy, length)[0],
    }
    replaced = {}
    for name, values in better.items():
        whole = np.broadcast_to(getattr(moments, name), moments.n.shape).copy()
        whole[cells] = values
        replaced[name] = whole
    return replace(moments, **replaced)


def _intercept(
    moments: Moments, y: Block, x: Block, beta: Floats, size: Floats, cells: Cells
) -> Floats:
    """Alpha of some cells by residuals, and by what beta's own rounding moves.

    After a print that is wrong the means are so large that the last digit of beta is
    more than all of alpha.
    """
    length = len(y.values) - len(moments.n) + 1
    there = gathered(y.present & x.present, length, cells).astype(float)
    window_x, window_y = (gathered(of.values, length, cells) * there for of in (x, y))
    product, lost = exact_product(beta, window_x)
    rest = ((window_y - product) - lost) * there
    level = window_sums(rest, length)[0] / moments.n[cells]
    mean_x, sxx = (
        np.broadcast_to(of, moments.n.shape)[cells]
        for of in (moments.mean_x, moments.sxx)
    )
    moved = window_sums((window_x - mean_x) * there * (rest - level), length)[0] / sxx
    found: Floats = level - moved * mean_x
    far = np.flatnonzero(size > FAR)
    found[far] = intercepts(window_y[:, far], window_x[:, far], moments.n[cells][far])
    return found


def residual_squares(
    y: Floats, x: Floats, common: Floats | None, alpha: Floats, beta: Floats
) -> Floats:
    """Σ(y - beta·x - alpha)² over the rows of each window, oldest first.

    Parameters
    ----------
    y, x
        [sessions + window - 1, symbols].
    common
        1.0 where both exist, else 0.0; None when no row is missing.
    alpha, beta
        [sessions, symbols].
    """
    length = len(y) - len(alpha) + 1
    if common is not None:  # a value of one of the two may be beyond all measure
        y, x = y * common, x * common
    if alpha.size <= FEW_CELLS:
        # The same additions in the same order, in a few calls: accumulate adds
        # one row after the other by definition, unlike sum.
        rest = slides(y, length) - beta * slides(x, length) - alpha
        if common is not None:
            rest = rest * slides(common, length)
        last: Floats = np.add.accumulate(rest * rest, axis=0)[-1]
        return last
    total, rest = np.zeros_like(alpha), np.empty_like(alpha)
    for row in range(length):
        rows = slice(row, row + len(alpha))
        np.multiply(beta, x[rows], out=rest)
        np.subtract(y[rows], rest, out=rest)
        np.subtract(rest, alpha, out=rest)
        if common is not None:
            np.multiply(rest, common[rows], out=rest)
        np.multiply(rest, rest, out=rest)
        np.add(total, rest, out=total)
    return total


def _finished(
    moments: Moments,
    beta: Floats,
    alpha: Floats,
    sse: Floats,
    reason: Codes,
    cap: float,
) -> Regression:
    """R², standard error, p and the cap, where there is a beta."""
    exact = sse <= moments.syy * NO_VARIANCE
    df = np.maximum(moments.n - 2, 1.0)
    r2 = np.where(exact, 1.0, np.maximum(1.0 - sse / moments.syy, 0.0))
    se = np.where(exact, 0.0, np.sqrt(sse / df / moments.sxx))
    if np.isinf(se).any():
        # The root of what is no double is one.
        se = np.where(np.isinf(se), np.sqrt(sse / df) / np.sqrt(moments.sxx), se)
    p = np.zeros_like(beta)
    tested = np.nonzero((reason == 0) & ~exact)
    explained = np.maximum(beta * moments.sxy, 0.0)
    p[tested] = p_values(sse[tested], explained[tested], df[tested].astype(np.int64))
    clipped = (np.abs(beta) > cap) & (reason == 0)
    return Regression(
        beta=nulled(np.clip(beta, -cap, cap), reason),
        alpha=nulled(alpha, reason),
        r2=nulled(r2, reason),
        se=nulled(se, reason),
        p=nulled(p, reason),
        n=moments.n.astype(np.int64),
        clipped=clipped,
        reason=reason,
    )


def tilt(beta: Floats, moderate: float, strong: float) -> NDArray[np.int8]:
    """0 neutral, 1 moderate (|beta| > ``moderate``), 2 strong; 0 where null."""
    size = np.abs(beta)
    return (size > moderate).astype(np.int8) + (size > strong).astype(np.int8)
