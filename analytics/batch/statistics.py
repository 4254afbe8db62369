"""Statistics of one window of returns, as a textbook writes them.

Every function gets the returns of one window (NaN where one is missing) and
gives numbers, or the reason why there are none. statsmodels regresses, numpy
solves; nothing is carried from one window to the next.
"""

import warnings
from dataclasses import dataclass, field
from fractions import Fraction
from math import hypot
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from statsmodels.regression.linear_model import OLS

from analytics.batch.nested import ANNUAL, CONDITION, LOOSE, REL
from analytics.batch.squares import NOTHING, fits, unbounded, varies

Series = NDArray[np.float64]

COLLINEAR = 1e-12
EQUAL = 1e-12
TINY = 1e-300
DIGITS = 16 * np.finfo(float).eps


@dataclass(frozen=True, slots=True)
class Fit:
    """A regression on one factor; null numbers have the reason."""

    n: int
    reason: str | None
    beta: float | None = None
    alpha: float | None = None
    r2: float | None = None
    se: float | None = None
    p: float | None = None
    clipped: bool = False
    unclipped: float | None = None


@dataclass(frozen=True, slots=True)
class Ridge:
    """Loadings on several factors; ``present`` names those that are not absent.

    ``sure`` is False where rounding decides whether the factors are collinear.
    """

    n: int
    reason: str | None
    present: frozenset[str] = frozenset()
    loadings: dict[str, float] = field(default_factory=dict)
    unclipped: dict[str, float] = field(default_factory=dict)
    r2: float | None = None
    condition: float | None = None
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Value:
    """One number, from how many, and the reason when there is none.

    ``sure`` is False where a threshold is so near that rounding decides.
    """

    value: float | None
    n: int
    reason: str | None
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Trend:
    """Direction of the volatility and the numbers behind the word.

    ``spread`` is the standard deviation of the values on their size: how well
    ``strength`` is determined. ``sure`` is False where the slope is so small beside
    the values that rounding decides its ninth digit.
    """

    n: int
    reason: str | None
    word: str | None = None
    slope: float | None = None
    strength: float | None = None
    spread: float = 1.0
    sure: bool = True


def count(values: Series) -> int:
    """How many returns are there."""
    return int((~np.isnan(values)).sum())


@unbounded
def fit(y: Series, x: Series, *, minimum: int, history: int, cap: float) -> Fit:
    """Ordinary least squares of y on x with intercept (section 5)."""
    rows = ~np.isnan(y) & ~np.isnan(x)
    n = int(rows.sum())
    if count(x) < history:
        return Fit(n, "no_factor_history")
    if n < minimum:
        return Fit(n, "too_few")
    y, x = y[rows], x[rows]
    if not varies(x) or not varies(y):
        return Fit(n, "constant")
    if not fits(x, y):
        return Fit(n, "overflow")
    # A column of unit length and mean zero: the same fit, well conditioned even
    # when a print is a million times too large.
    length = float(np.sqrt(((x - x.mean()) ** 2).sum()))
    model = OLS(y, np.column_stack([np.ones(n), (x - x.mean()) / length])).fit()
    beta = float(model.params[1]) / length
    if model.ssr <= NOTHING * model.centered_tss:
        r2, se, p = 1.0, 0.0, 0.0
    else:
        r2, se, p = model.rsquared, model.bse[1] / length, model.pvalues[1]
    return Fit(
        n=n,
        reason=None,
        beta=min(max(beta, -cap), cap),
        alpha=_intercept(y, x),
        r2=float(r2),
        se=float(se),
        p=float(p),
        clipped=abs(beta) > cap,
        unclipped=beta,
    )


def _intercept(y: Series, x: Series) -> float:
    """Mean of y less the slope times that of x, in more digits than are published.

    After a print that is wrong the means are so large that the last digit of a slope
    is more than all of the intercept, and fractions alone have enough of them.
    """
    wild = max(abs(x.mean()), abs(y.mean())) > 1
    xs, ys = (_fractions(v) if wild else v.astype(np.longdouble) for v in (x, y))
    mean_x, mean_y = xs.sum() / len(xs), ys.sum() / len(ys)
    offsets = xs - mean_x
    return float(mean_y - (offsets * ys).sum() / (offsets * offsets).sum() * mean_x)


def _fractions(values: Series) -> NDArray[Any]:
    return np.array([Fraction(v) for v in values])


@unbounded
def ridge(
    y: Series,
    factors: dict[str, Series],
    *,
    minimum: int,
    history: int,
    alpha: float,
    cap: float,
) -> Ridge:
    """Ridge on standardised factors (section 6); factors by name.

    Absent factors (too short, or without variance in the window) are left out.
    """
    present = {
        name: x
        for name, x in factors.items()
        if count(x) >= history and varies(x[~np.isnan(x)])
    }
    if not present:
        return Ridge(0, "no_factor_history")
    columns = np.column_stack([y, *present.values()])
    columns = columns[~np.isnan(columns).any(axis=1)]
    n = len(columns)
    if n < minimum:
        return Ridge(n, "too_few", frozenset(present))
    if not all(varies(column) for column in columns.T):
        return Ridge(n, "constant", frozenset(present))
    if not fits(*columns.T):
        return Ridge(n, "overflow", frozenset(present))
    target = columns[:, 0] - columns[:, 0].mean()
    x = columns[:, 1:]
    sigma = x.std(axis=0)
    centred = x - x.mean(axis=0)
    z = (centred - centred.mean(axis=0)) / sigma
    gram = z.T @ z
    b = np.linalg.solve(gram + alpha * np.eye(len(present)), z.T @ target)
    # Of Z and not of ZᵀZ, which has half the digits of the small ones.
    singular = np.linalg.svd(z, compute_uv=False)
    least = np.sqrt(COLLINEAR) * singular[0]
    free = dict(zip(present, (float(v) for v in b / sigma), strict=True))
    return Ridge(
        n=n,
        reason=None,
        present=frozenset(present),
        loadings={name: min(max(v, -cap), cap) for name, v in free.items()},
        unclipped=free,
        r2=float(1 - ((target - z @ b) ** 2).sum() / (target**2).sum()),
        condition=None if singular[-1] <= least else float(singular[0] / singular[-1]),
        sure=bool(abs(singular[-1] - least) > CONDITION * least),
    )


@unbounded
def volatility(window: Series, minimum: int, year: int) -> Value:
    """Annualised standard deviation of a window (ddof 1)."""
    values = window[~np.isnan(window)]
    if len(values) < minimum:
        return Value(None, len(values), "too_few")
    if not fits(values):
        return Value(None, len(values), "overflow")
    return Value(float(values.std(ddof=1) * np.sqrt(year)), len(values), None)


@unbounded
def volatilities(series: Series, length: int, minimum: int, year: int) -> Series:
    """Volatility of every window of a series; NaN where too few or too large."""
    windows = sliding_window_view(series, length)
    present = ~np.isnan(windows)
    n = present.sum(axis=1)
    there = np.where(present, windows, 0.0)
    mean = there.sum(axis=1) / n
    squares = np.where(present, (windows - mean[:, None]) ** 2, 0.0).sum(axis=1)
    found = np.sqrt(squares / (n - 1)) * np.sqrt(year)
    known = (n >= minimum) & np.isfinite((there**2).sum(axis=1))
    return np.where(known, found, np.nan)


@dataclass(frozen=True, slots=True)
class HarRule:
    """Lengths of the HAR: week, month, horizon; rows needed; sessions a year."""

    week: int
    month: int
    horizon: int
    minimum: int
    year: int


@unbounded
def har(returns: Series, rule: HarRule) -> Value:
    """Forecast of the volatility of the next sessions (section 7, Corsi 2009)."""
    x = returns**2
    week = _means(x, rule.week)
    month = _means(x, rule.month)
    ahead = np.full(len(x), np.nan)
    ahead[: -rule.horizon] = _means(x, rule.horizon)[rule.horizon :]
    inputs = np.column_stack([x, week, month])
    whole = ~np.isnan(inputs).any(axis=1)
    whole &= np.arange(len(x)) >= rule.month - 1
    rows = whole & ~np.isnan(ahead)
    n = int(rows.sum())
    if n < rule.minimum:
        return Value(None, n, "too_few")
    if not whole[-1]:
        return Value(None, n, "recent_gap")
    if not all(varies(column) for column in inputs[rows].T):
        return Value(None, n, "constant")
    target = ahead[rows]
    mean, sigma = inputs[rows].mean(axis=0), inputs[rows].std(axis=0)
    products = (inputs[rows] - mean).T @ (target - target.mean())
    if not fits(*inputs[rows].T) or not np.isfinite(products).all():
        return Value(None, n, "overflow")
    z = (inputs[rows] - mean) / sigma
    eigenvalues = np.linalg.eigvalsh(z.T @ z)
    if eigenvalues[0] <= COLLINEAR * eigenvalues[-1]:
        return Value(None, n, "collinear")
    b, *_ = np.linalg.lstsq(z, target - target.mean(), rcond=None)
    today = (inputs[-1] - mean) / sigma
    parts = [target.mean(), *(today * b)]
    forecast = sum(parts)
    square = rule.year * max(0.0, forecast)
    if not np.isfinite([forecast, square]).all():
        return Value(None, n, "overflow")
    # What any solution by the normal equations may lose: columns that are nearly
    # collinear, parts that cancel, a small coefficient beside a large one where today
    # is far out.
    size = max(sum(map(abs, parts)), hypot(*b) * hypot(*today))
    lost = DIGITS * eigenvalues[-1] / eigenvalues[0] * size
    sure = bool(lost <= LOOSE * abs(forecast))
    return Value(float(np.sqrt(square)), n, None, sure)


def _means(x: Series, length: int) -> Series:
    """Mean of the last ``length`` values at each place, if two thirds exist."""
    padded = np.concatenate([np.full(length - 1, np.nan), x])
    windows = sliding_window_view(padded, length)
    n = (~np.isnan(windows)).sum(axis=1)
    means = np.nansum(windows, axis=1) / n
    return np.where(n >= -(-2 * length // 3), means, np.nan)


@unbounded
def trend(values: Series, minimum: int, steep: float, clear: float) -> Trend:
    """Direction of the last values of a volatility, against the session number."""
    there = ~np.isnan(values)
    n = int(there.sum())
    if n < minimum:
        return Trend(n, "too_few")
    y = values[there]
    if not varies(y):
        return Trend(n, None, "stable", 0.0, None)
    number = np.flatnonzero(there)
    product = ((number - number.mean()) ** 2).sum() * ((y - y.mean()) ** 2).sum()
    if not fits(y) or not np.isfinite(product):
        return Trend(n, "overflow")
    model = OLS(y, np.column_stack([np.ones(n), number])).fit()
    slope, strength = float(model.params[1]), float(model.rsquared)
    word = "stable"
    if abs(slope) > steep and strength > clear:
        word = "increasing" if slope > 0 else "decreasing"
    size = float(np.sqrt((y**2).mean()))
    sure = bool(DIGITS * size <= REL * abs(slope) + ANNUAL)
    return Trend(n, None, word, slope, strength, float(y.std() / size), sure)


@unbounded
def percentile(values: Series, minimum: int) -> Value:
    """Rank of the last value among all that exist, halves for equal ones."""
    there = values[~np.isnan(values)]
    n = len(there)
    if n < minimum:
        return Value(None, n, "too_few")
    today = values[-1]
    if np.isnan(today):
        return Value(None, n, "recent_gap")
    apart = np.abs(there - today) / np.maximum(np.maximum(np.abs(there), today), TINY)
    equal = apart <= EQUAL
    less = (there < today) & ~equal
    doubtful = (apart > EQUAL / 2) & (apart < EQUAL * 2)
    rank = float(100 * (less.sum() + equal.sum() / 2) / n)
    return Value(rank, n, None, sure=not doubtful.any())


@unbounded
def correlate(
    x: Series, y: Series, minimum: int
) -> tuple[float | None, int, str | None]:
    """Pearson's correlation of the rows where both exist: (rho, n, reason)."""
    rows = ~np.isnan(x) & ~np.isnan(y)
    n = int(rows.sum())
    if n < minimum:
        return None, n, "too_few"
    x, y = x[rows], y[rows]
    if not varies(x) or not varies(y):
        return None, n, "constant"
    if not fits(x, y):
        return None, n, "overflow"
    x, y = x - x.mean(), y - y.mean()
    x, y = x / np.sqrt((x**2).sum()), y / np.sqrt((y**2).sum())
    return float(x @ y), n, None


def nearest_correlation(
    matrix: Series, tolerance: float, rounds: int
) -> tuple[Series, bool]:
    """Nearest correlation matrix in the Frobenius norm (Higham 2002).

    Alternating projections on the semidefinite matrices and on those of unit
    diagonal, with Dykstra's correction. The second value says whether it converged.
    """
    y = matrix.copy()
    correction = np.zeros_like(matrix)
    x = matrix.copy()
    for _ in range(rounds):
        before_x, before_y = x, y
        r = y - correction
        values, vectors = np.linalg.eigh(r)
        x = (vectors * np.maximum(values, 0.0)) @ vectors.T
        correction = x - r
        y = (x + x.T) / 2
        np.fill_diagonal(y, 1.0)
        steps = (
            np.linalg.norm(x - before_x) / np.linalg.norm(x),
            np.linalg.norm(y - before_y) / np.linalg.norm(y),
            np.linalg.norm(y - x) / np.linalg.norm(y),
        )
        if max(steps) <= tolerance:
            return y, True
    return y, False


# statsmodels imports what warns of its own future; that is not ours to answer.
warnings.filterwarnings("ignore", module="statsmodels")
