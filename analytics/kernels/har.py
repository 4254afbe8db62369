"""Forecast of volatility by a heterogeneous autoregression (section 7).

x is the squared return. Its mean over the next 21 sessions is regressed, over the
last 252 sessions, on 1, x, and its means over the last 5 and 22 sessions; what
that says of the 21 sessions to come is annualised: √(252·max(0, fit)). Columns are
standardised before solving. A mean is over the values present, at least two thirds
of them; a row needs x itself and all three means.

Source: Corsi (2009), A Simple Approximate Long-Memory Model of Realized
Volatility, Journal of Financial Econometrics 7(2).
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from analytics.factors import Factors, Window
from analytics.kernels.linear import cholesky, eigen, solve
from analytics.kernels.reasons import Codes, Reason, finite, first, flat, nulled
from analytics.kernels.windows import (
    Block,
    Bools,
    Cells,
    Floats,
    Ints,
    cells_of,
    fold,
    folding,
    gathered,
    several_sums,
    window_sums,
)

COLUMNS = 3
PAIRS = tuple(combinations_with_replacement(range(COLUMNS), 2))

ILL_CENTRED = 1e-3
"""Means of squares are all positive, so more is lost than with returns; the bound
of what may differ is wider too (1e-7)."""

NEARLY_COLLINEAR = 1e-6
"""Determinant of the columns' correlations below which the cell is centred first."""

COLLINEAR = 1e-12
CENTRED_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Forecast:
    """Annualised volatility of the sessions to come, [sessions, series].

    NaN where ``reason`` is not 0; ``n`` is the number of rows.
    """

    value: Floats
    n: Ints
    reason: Codes


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the regression, and the row to forecast from.

    Attributes
    ----------
    columns, target
        [sessions + rows - 1, series] each, 0.0 in rows that do not count.
    counts
        Which rows count.
    now
        The columns of today, [sessions, series] each.
    known
        Whether today's are known.
    """

    columns: tuple[Floats, ...]
    target: Floats
    counts: Bools
    now: tuple[Floats, ...]
    known: Bools


@dataclass(frozen=True, slots=True)
class Moments:
    """Means, and raw and centred sums, of the rows of each window."""

    n: Floats
    means: tuple[Floats, ...]
    mean_y: Floats
    raw: tuple[Floats, ...]
    centred: dict[tuple[int, int], Floats]
    with_y: tuple[Floats, ...]


def forecast(block: Block, factors: Factors) -> Forecast:
    """Forecast every series in every session.

    Parameters
    ----------
    block
        Returns; ``har_window`` rows up to the first session at least.
    factors
        Lengths and minima.

    Returns
    -------
    Forecast
        ``too_few`` rows, ``recent_gap`` (today's x or means are not known),
        ``constant`` column, ``collinear`` columns (λmin <= 1e-12·λmax), ``overflow``.
    """
    rows = _rows(block.over(factors.har_window), factors)
    length = len(rows.target) - block.sessions + 1
    moments = _moments(rows, length)
    fitted = _correlations(moments)
    result = _solved(moments, fitted, rows.now, rows.known, factors)
    ill = cells_of(_ill(moments, fitted) & (moments.n >= factors.har_minimum))
    for start in range(0, len(ill[0]), CENTRED_AT_ONCE):
        cells = (ill[0][start:][:CENTRED_AT_ONCE], ill[1][start:][:CENTRED_AT_ONCE])
        now = tuple(column[cells][None] for column in rows.now)
        centred = _centred_first(rows, length, cells)
        known = rows.known[cells][None]
        better = _solved(centred, _correlations(centred), now, known, factors)
        result.value[cells], result.reason[cells] = better.value[0], better.reason[0]
    return result


def _rows(block: Block, factors: Factors) -> Rows:
    """Lay the squared returns and their means beside one another."""
    x, present = block.values * block.values, block.present
    week, month = factors.har_week, factors.har_month
    ahead, last = factors.har_horizon, factors.har_window - 1
    lengths = (week, month, ahead)
    sums, has = several_sums(x, lengths), _has(present, lengths)
    of_week, of_month, of_ahead = (
        each * (1.0 / n) for each, (n, _) in zip(sums, has, strict=True)
    )
    has_week, has_month, has_ahead = (enough for _, enough in has)
    count = len(x) - (month - 1) - ahead
    day = slice(month - 1, month - 1 + count)
    weekly = slice(month - week, month - week + count)
    target = slice(month, month + count)
    counts = present[day] & has_week[weekly] & has_month[:count] & has_ahead[target]
    columns: tuple[Floats, ...] = (x[day], of_week[weekly], of_month[:count])
    y = of_ahead[target]
    if not counts.all():
        # A square that is infinite is no number, times 0.
        columns = tuple(np.where(counts, column, 0.0) for column in columns)
        y = np.where(counts, y, 0.0)
    return Rows(
        columns=columns,
        target=y,
        counts=counts,
        now=(x[last:], of_week[last - week + 1 :], of_month[last - month + 1 :]),
        known=present[last:]
        & has_week[last - week + 1 :]
        & has_month[last - month + 1 :],
    )


def _has(present: Bools, lengths: tuple[int, ...]) -> list[tuple[Floats, Bools]]:
    """How many values every mean is over (at least 1), and whether they suffice."""
    shape = present.shape
    if present.all():
        return [
            (np.full((1, 1), float(w)), np.ones((shape[0] - w + 1, shape[1]), bool))
            for w in lengths
        ]
    counts = several_sums(present.astype(float), lengths)
    return [
        (np.maximum(n, 1.0), n >= Window.thirds(w).minimum)
        for n, w in zip(counts, lengths, strict=True)
    ]


def _moments(rows: Rows, length: int) -> Moments:
    """Add up the rows of each window, and their products."""
    sums_of = _one_window if len(rows.target) == length else _windows
    plain, sums, cross = sums_of((*rows.columns, rows.target), length)
    n = np.full(plain[0].shape, float(length))
    if not rows.counts.all():
        n = window_sums(rows.counts.astype(float), length)
    means = [each / np.maximum(n, 1.0) for each in plain]
    return Moments(
        n=n,
        means=tuple(means[:-1]),
        mean_y=means[-1],
        raw=tuple(sums[a, a] for a in range(COLUMNS)),
        centred={(a, b): sums[a, b] - plain[a] * means[b] for a, b in PAIRS},
        with_y=tuple(cross[a] - plain[a] * means[-1] for a in range(COLUMNS)),
    )


Sums = tuple[list[Floats], dict[tuple[int, int], Floats], list[Floats]]


def _windows(rows: tuple[Floats, ...], length: int) -> Sums:
    """Add up columns and target, the columns' products, and those with the target."""
    *columns, y = rows
    return (
        [window_sums(each, length) for each in rows],
        {(a, b): window_sums(columns[a] * columns[b], length) for a, b in PAIRS},
        [window_sums(column * y, length) for column in columns],
    )


def _one_window(rows: tuple[Floats, ...], length: int) -> Sums:
    """``_windows`` of one window; its rows are laid out once for all the sums."""
    order = folding(length)
    *columns, y = (each.take(order, axis=0) for each in rows)
    room = np.empty_like(y)
    products = {
        (a, b): fold(np.multiply(columns[a], columns[b], out=room)) for a, b in PAIRS
    }
    cross = [fold(np.multiply(column, y, out=room)) for column in columns]
    return [fold(each) for each in (*columns, y)], products, cross


def _centred_first(rows: Rows, length: int, cells: Cells) -> Moments:
    """Form the sums of some cells from centred columns; one session, K series."""
    counts = gathered(rows.counts, length, cells)
    n = window_sums(counts.astype(float), length)
    windows = [gathered(each, length, cells) for each in (*rows.columns, rows.target)]
    means = [window_sums(window, length) / n for window in windows]
    offsets = [
        (window - mean) * counts for window, mean in zip(windows, means, strict=True)
    ]
    *columns, y = offsets
    return Moments(
        n=n,
        means=tuple(means[:-1]),
        mean_y=means[-1],
        raw=tuple(window_sums(window * window, length) for window in windows[:-1]),
        centred={
            (a, b): window_sums(columns[a] * columns[b], length) for a, b in PAIRS
        },
        with_y=tuple(window_sums(column * y, length) for column in columns),
    )


Correlations = tuple[Floats, tuple[Floats, ...]]


def _correlations(moments: Moments) -> Correlations:
    """Correlations of the columns [3, 3, sessions, series], and roots of Saa."""
    roots = tuple(
        np.sqrt(np.where(moments.centred[a, a] > 0, moments.centred[a, a], 1.0))
        for a in range(COLUMNS)
    )
    matrix = np.ones((COLUMNS, COLUMNS, *moments.n.shape))
    for a, b in PAIRS:
        if a != b:
            matrix[a, b] = moments.centred[a, b] / (roots[a] * roots[b])
            matrix[b, a] = matrix[a, b]
    return matrix, roots


def _determinant(r: Floats) -> Floats:
    """Of 3 x 3 correlations; λmin of at most 1e-12·λmax makes it < 1e-10."""
    a, b, c = r[0, 1], r[0, 2], r[1, 2]
    found: Floats = 1.0 + 2.0 * (a * b * c) - (a * a + b * b + c * c)
    return found


def _ill(moments: Moments, fitted: Correlations) -> Bools:
    """Cells whose raw sums have lost too many digits."""
    lost: Bools = _determinant(fitted[0]) < NEARLY_COLLINEAR
    for a in range(COLUMNS):
        lost |= moments.centred[a, a] < moments.raw[a] * ILL_CENTRED
    return lost


def _solved(
    moments: Moments,
    fitted: Correlations,
    now: tuple[Floats, ...],
    known: Bools,
    factors: Factors,
) -> Forecast:
    """Fit at today's columns, and say what is null."""
    matrix, roots = fitted
    lower, positive = cholesky(matrix)
    right = np.stack(
        [each / root for each, root in zip(moments.with_y, roots, strict=True)]
    )
    fit = moments.mean_y
    for b, root, value, mean in zip(
        solve(lower, right), roots, now, moments.means, strict=True
    ):
        fit = fit + b * ((value - mean) / root)
    constant = np.zeros(fit.shape, bool)
    for a in range(COLUMNS):
        constant |= flat(moments.centred[a, a], moments.raw[a])
    reason = first(
        fit.shape,
        (Reason.TOO_FEW, moments.n < factors.har_minimum),
        (Reason.RECENT_GAP, ~known),
        (Reason.CONSTANT, constant),
    )
    sums = (*moments.raw, *moments.centred.values(), *moments.with_y)
    reason = finite(reason, *sums)
    alike = (reason == 0) & (~positive | _collinear(matrix))
    reason = np.where(alike, np.uint8(Reason.COLLINEAR), reason)
    value = np.sqrt(factors.year * np.maximum(fit, 0.0))
    reason = finite(reason, fit, value)
    return Forecast(nulled(value, reason), moments.n.astype(np.int64), reason)


def _collinear(matrix: Floats) -> Bools:
    """λmin <= 1e-12·λmax, looked for where the determinant allows it."""
    found = np.zeros(matrix.shape[2:], bool)
    near = np.nonzero(~(_determinant(matrix) > NEARLY_COLLINEAR))
    if not len(near[0]):
        return found
    candidates = matrix[:, :, near[0], near[1]]
    usable = np.isfinite(candidates).all(axis=(0, 1))
    values = eigen(np.where(usable, candidates, 0.0), vectors=False)[0]
    found[near] = values.min(axis=0) <= COLLINEAR * values.max(axis=0)
    return found
