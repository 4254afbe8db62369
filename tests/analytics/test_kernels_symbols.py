"""Symbols' statistics beside independent code, on each window's slice.

statsmodels, scikit-learn, pandas and numpy get the returns of one window of one
symbol and know nothing of the kernels.
"""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler
from statsmodels.regression.rolling import RollingOLS

from analytics.factors import Factors, Window
from analytics.kernels.reasons import Reason
from analytics.kernels.student import p_values
from analytics.kernels.symbols import symbol_statistics
from analytics.kernels.windows import Floats
from tests.analytics.kernels_world import (
    FACTORS,
    PLACES,
    SESSIONS,
    SYMBOLS,
    matrix,
    panel_of,
)

R = matrix()
ROWS = np.array([95, 150, 200, *range(SESSIONS - 30, SESSIONS)])
FOUND = symbol_statistics(panel_of(R), ROWS, np.arange(len(SYMBOLS)), FACTORS, PLACES)
REAL = 1e-9


def close(a: float, b: float, small: float, relative: float = REAL) -> bool:
    return abs(a - b) <= relative * max(abs(a), abs(b)) + small


def factor(symbol: str) -> Floats:
    long, _, short = symbol.partition("-")
    r = R[:, PLACES[long]]
    return r - R[:, PLACES[short]] if short else r


def window(series: Floats, session: int, length: int) -> Floats:
    full = np.concatenate([np.full(length, np.nan), series])
    return full[session + 1 : session + 1 + length]


def cells(every: int = 1) -> list[tuple[int, int]]:
    rows = range(0, len(ROWS), every)
    return [(i, j) for i in rows for j in range(len(SYMBOLS))]


@pytest.mark.parametrize(
    ("group", "regressor", "length", "minimum"),
    [("market", "SPY", 90, 30), ("interest_rate", "TLT", 90, 30)]
    + [(f"spread.{s.key}", s.key, 180, 60) for s in FACTORS.spreads],
)
def test_a_regression_is_that_of_statsmodels(
    group: str, regressor: str, length: int, minimum: int
) -> None:
    compared = 0
    for i, j in cells():
        y, x = (
            window(R[:, j], ROWS[i], length),
            window(factor(regressor), ROWS[i], length),
        )
        rows = ~np.isnan(y) & ~np.isnan(x)
        got = {k: FOUND[f"{group}.{k}"][i, j] for k in ("beta", "alpha", "r2", "se")}
        p, n = FOUND[f"{group}.p"][i, j], FOUND[f"{group}.n"][i, j]
        assert n == rows.sum()
        if n < minimum or np.ptp(y[rows]) == 0:
            assert np.isnan([*got.values(), p]).all()
            assert FOUND[f"{group}.reason"][i, j] != 0
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = sm.OLS(y[rows], sm.add_constant(x[rows])).fit()
        compared += 1
        assert close(got["beta"], np.clip(fit.params[1], -5, 5), 1e-12)
        assert FOUND[f"{group}.clipped"][i, j] == (abs(fit.params[1]) > 5)
        # A window with a million in it has coarser alphas, here and there.
        assert close(got["alpha"], fit.params[0], 1e-14 * max(1, np.abs(y[rows]).max()))
        assert close(got["r2"], fit.rsquared, 1e-12)
        if 1 - fit.rsquared < 1e-12:
            continue
        assert close(got["se"], fit.bse[1], 1e-14)
        if max(p, fit.pvalues[1]) > 1e-300:
            tolerance = REAL if fit.pvalues[1] > 1e-12 else 1e-6
            assert close(
                p, fit.pvalues[1], 1e-12 if tolerance == REAL else 0, tolerance
            )
    assert compared > 400


def test_rolling_regressions_are_those_of_statsmodels() -> None:
    for symbol in ("S0", "GAPPY"):
        y, x = pd.Series(R[:, PLACES[symbol]]), pd.Series(R[:, 0])
        model = RollingOLS(
            y, sm.add_constant(x), window=90, min_nobs=30, missing="drop"
        )
        # use_t: the default's p-values are normal ones.
        fit = model.fit(use_t=True)
        at = [t for t in ROWS if t in fit.params.index]
        place = [list(ROWS).index(t) for t in at]
        column = PLACES[symbol]
        if symbol == "S0":
            for name, theirs in (
                ("beta", fit.params.iloc[:, 1]),
                ("alpha", fit.params.iloc[:, 0]),
                ("se", fit.bse.iloc[:, 1]),
                ("r2", fit.rsquared),
            ):
                ours = FOUND[f"market.{name}"][place, column]
                np.testing.assert_allclose(ours, theirs[at], rtol=1e-9, atol=1e-14)
            # Its p-values are an array.
            theirs_p = np.asarray(fit.pvalues)[at, 1]
            np.testing.assert_allclose(
                FOUND["market.p"][place, column], theirs_p, rtol=1e-6, atol=1e-12
            )


def test_the_market_on_itself() -> None:
    spy = PLACES["SPY"]
    for name, value in (("beta", 1.0), ("alpha", 0.0), ("r2", 1.0), ("p", 0.0)):
        assert (FOUND[f"market.{name}"][:, spy] == value).all()
    double = PLACES["DOUBLE"]
    assert (FOUND["market.beta"][:, double] == 2.0).all()
    assert (FOUND["market.se"][:, double] == 0.0).all()


@pytest.mark.parametrize("df", [1, 2, 3, 5, 28, 88, 178, 1000, 4999])
def test_p_is_students(df: int) -> None:
    t = np.concatenate([[0.0, 1e-9], np.geomspace(1e-6, 1e4, 500)])
    ours = p_values(np.full(t.shape, float(df)), t * t, np.full(t.shape, df))
    # One degree of freedom is Cauchy's; scipy has nine digits of it near 1.
    theirs = 2 / np.pi * np.arctan2(1, t) if df == 1 else 2 * stats.t.sf(t, df)
    seen = theirs > 1e-290
    rtol = 2e-12 if df <= 300 else 2e-10
    np.testing.assert_allclose(ours[seen], theirs[seen], rtol=rtol)
    assert (ours[~seen] < 1e-289).all()


def ridge_by_hand(y: Floats, z: Floats, penalty: float) -> tuple[Floats, float, float]:
    scale = StandardScaler().fit(z)
    zs = scale.transform(z)
    model = Ridge(alpha=penalty, solver="cholesky").fit(zs, y)
    values = np.linalg.svd(zs, compute_uv=False)
    return model.coef_ / scale.scale_, model.score(zs, y), values[0] / values[-1]


def test_a_ridge_is_that_of_scikit_learn() -> None:
    styles = [style.symbol for style in FACTORS.styles]
    z_all = R[:, [PLACES[s] for s in styles]]
    for i, j in cells(2):
        y = window(R[:, j], ROWS[i], 90)
        z = np.stack([window(column, ROWS[i], 90) for column in z_all.T], axis=1)
        rows = ~np.isnan(y) & ~np.isnan(z).any(axis=1)
        assert FOUND["ridge.n"][i, j] == rows.sum()
        if rows.sum() < 30 or np.ptp(y[rows]) == 0:
            assert FOUND["ridge.reason"][i, j] != 0
            continue
        loadings, r2, condition = ridge_by_hand(y[rows], z[rows], 1.0)
        for style, loading in zip(styles, loadings, strict=True):
            ours = FOUND[f"ridge.{style}.loading"][i, j]
            assert close(ours, np.clip(loading, -5, 5), 1e-12)
            assert FOUND[f"ridge.{style}.clipped"][i, j] == (abs(loading) > 5)
        assert close(FOUND["ridge.r2"][i, j], r2, 1e-12)
        assert close(FOUND["ridge.condition"][i, j], condition, 0, 1e-6)


def test_a_ridge_without_penalty_is_ols() -> None:
    factors = Factors(ridge_alpha=0.0)
    found = symbol_statistics(
        panel_of(R), ROWS[-1:], np.arange(len(SYMBOLS)), factors, PLACES
    )
    z = R[-90:, [PLACES[style.symbol] for style in factors.styles]]
    for symbol in ("S0", "S3", "CALM"):
        fit = LinearRegression().fit(z, R[-90:, PLACES[symbol]])
        ours = [
            found[f"ridge.{s.symbol}.loading"][0, PLACES[symbol]]
            for s in factors.styles
        ]
        np.testing.assert_allclose(ours, fit.coef_, rtol=1e-9)


@pytest.mark.parametrize("length", [21, 63, 252])
def test_a_volatility_is_that_of_pandas(length: int) -> None:
    for i, j in cells():
        r = pd.Series(window(R[:, j], ROWS[i], length))
        value = FOUND[f"volatility.{length}.value"][i, j]
        n = FOUND[f"volatility.{length}.n"][i, j]
        assert n == r.count()
        if n < -(-2 * length // 3):
            assert FOUND[f"volatility.{length}.reason"][i, j] == Reason.TOO_FEW
            assert np.isnan(value)
            continue
        assert close(value, r.std() * np.sqrt(252), 1e-14)


def volatility_21(j: int, session: int) -> float:
    r = pd.Series(window(R[:, j], session, 21))
    return float(r.std() * np.sqrt(252)) if r.count() >= 14 else np.nan


def test_trend_and_percentile_are_those_of_scipy() -> None:
    for j in range(len(SYMBOLS)):
        every = np.array([volatility_21(j, t) for t in range(SESSIONS)])
        for i, session in enumerate(ROWS):
            check_trend(i, j, window(every, session, 21))
            check_percentile(i, j, window(every, session, 232))


def check_trend(i: int, j: int, values: Floats) -> None:
    there = ~np.isnan(values)
    reason = FOUND["trend.reason"][i, j]
    if there.sum() < 14:
        assert reason == Reason.TOO_FEW
        return
    assert reason == 0
    slope, strength = FOUND["trend.slope"][i, j], FOUND["trend.strength"][i, j]
    direction = FOUND["trend.direction"][i, j]
    if np.ptp(values[there]) == 0:
        assert slope == 0
        assert direction == 0
        assert np.isnan(strength)
        return
    fit = stats.linregress(np.arange(21.0)[there], values[there])
    assert close(slope, fit.slope, 1e-14 * 252 * values[there].max())
    assert close(strength, fit.rvalue**2, 1e-9)
    clear = abs(fit.slope) > 0.001 and fit.rvalue**2 > 0.3
    assert direction == (np.sign(fit.slope) if clear else 0)


def check_percentile(i: int, j: int, values: Floats) -> None:
    there = values[~np.isnan(values)]
    reason, got = FOUND["percentile.reason"][i, j], FOUND["percentile.value"][i, j]
    assert FOUND["percentile.n"][i, j] == len(there)
    if len(there) < 155:
        assert reason == Reason.TOO_FEW
    elif np.isnan(values[-1]):
        assert reason == Reason.RECENT_GAP
    else:
        equal = np.isclose(there, values[-1], rtol=1e-12, atol=0)
        less = (there < values[-1]) & ~equal
        assert got == pytest.approx(100 * (less.sum() + equal.sum() / 2) / len(there))


def har_by_hand(r: Floats) -> tuple[float | None, int]:
    """The text of section 7, line by line; x[k] is x_k."""
    x = np.concatenate([[np.nan], r * r])

    def mean(values: Floats) -> float:
        there = values[~np.isnan(values)]
        enough = len(there) >= -(-2 * len(values) // 3)
        return float(there.mean()) if enough else np.nan

    def columns(k: int) -> list[float]:
        return [x[k], mean(x[k - 4 : k + 1]), mean(x[k - 21 : k + 1])]

    table = np.array([[*columns(k), mean(x[k + 1 : k + 22])] for k in range(22, 232)])
    table = table[~np.isnan(table).any(axis=1)]
    now = np.array(columns(252))
    if len(table) < 63 or np.isnan(now).any():
        return None, len(table)
    z, y = table[:, :3], table[:, 3]
    if (np.ptp(z, axis=0) == 0).any():
        return None, len(table)
    scale = StandardScaler().fit(z)
    fit = LinearRegression().fit(scale.transform(z), y)
    value = float(fit.predict(scale.transform(now[None]))[0])
    return float(np.sqrt(252 * max(0.0, value))), len(table)


def test_har_is_a_regression_on_the_lagged_means() -> None:
    compared = 0
    for i, j in cells(4):
        value, n = har_by_hand(window(R[:, j], ROWS[i], 252))
        got, reason = FOUND["har.value"][i, j], FOUND["har.reason"][i, j]
        assert FOUND["har.n"][i, j] == n
        assert (value is None) == (reason != 0)
        if value is not None:
            compared += 1
            assert close(got, value, 1e-7 if SYMBOLS[j] != "PRINT" else 1e-2, 1e-7)
    assert compared > 70


def test_a_gap_is_not_bridged() -> None:
    """A close is missing: two returns are, and no return spans the gap."""
    from analytics.kernels.windows import panel

    close_ = np.array([[100], [101], [0], [104], [105]]) * 1_000_000
    made = panel(close_.astype(np.int64), np.full(close_.shape, np.nan))
    assert made.present[:, 0].tolist() == [False, True, False, False, True]
    assert made.values[:, 0].tolist() == [0, 101 / 100 - 1, 0, 0, 105 / 104 - 1]


def test_adjusted_closes_are_used_where_both_have_one() -> None:
    from analytics.kernels.windows import panel

    nan = np.nan
    close_ = np.array([[100], [110], [121], [133]]) * 1_000_000
    adjusted = np.array([[50.0], [56.0], [nan], [70.0]])
    made = panel(close_.astype(np.int64), adjusted)
    expected = [0.0, 56 / 50 - 1, 121 / 110 - 1, 133 / 121 - 1]
    assert made.values[:, 0].tolist() == expected


def test_a_ratio_that_is_not_finite_is_a_missing_return() -> None:
    from analytics.kernels.windows import panel

    close_ = np.full((2, 1), 10**6)
    made = panel(close_, np.array([[1e-300], [1e300]]))
    assert not made.present.any()


def test_returns_too_large_for_their_squares_are_an_overflow() -> None:
    r = matrix()
    r[-30, PLACES["S0"]] = 1e200
    found = symbol_statistics(
        panel_of(r), np.array([SESSIONS - 1]), np.arange(len(SYMBOLS)), FACTORS, PLACES
    )
    s0 = PLACES["S0"]
    for name in ("market.reason", "ridge.reason", "volatility.63.reason", "har.reason"):
        assert found[name][0, s0] == Reason.OVERFLOW
    every: dict[str, Any] = {k: v for k, v in found.items() if v.dtype == float}
    assert not any(np.isinf(values).any() for values in every.values())
    assert np.isnan(found["market.beta"][0, s0])
    assert found["volatility.21.reason"][0, s0] == 0


def test_window_of_two_thirds() -> None:
    assert Window.thirds(252).minimum == 168
