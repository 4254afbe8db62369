"""The oracle's statistics against libraries, vectors and what one can see."""

import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.preprocessing import StandardScaler

from analytics.batch import statistics as s

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import statsmodels.api as sm

RULES = {"minimum": 30, "history": 30, "cap": 5.0}
HAR = s.HarRule(week=5, month=22, horizon=21, minimum=63, year=252)


def returns(seed: int, n: int, gaps: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    made = random.normal(0.0005, 0.01, n)
    made[random.choice(n, gaps, replace=False)] = np.nan
    return made


def test_a_fit_is_that_of_statsmodels_on_complete_rows():
    x, y = returns(1, 90, 5), returns(2, 90, 7)
    rows = ~np.isnan(x) & ~np.isnan(y)
    model = sm.OLS(y[rows], sm.add_constant(x[rows])).fit()
    found = s.fit(y, x, **RULES)
    assert (found.alpha, found.beta) == pytest.approx(tuple(model.params), rel=1e-10)
    assert found.se == pytest.approx(model.bse[1], rel=1e-10)
    assert found.p == pytest.approx(model.pvalues[1], rel=1e-10)
    assert found.r2 == pytest.approx(model.rsquared, rel=1e-10)
    assert found.n == rows.sum()


def test_a_symbol_on_itself():
    x = returns(1, 90)
    found = s.fit(x, x, **RULES)
    assert found.beta == pytest.approx(1, abs=1e-15)
    assert found.alpha == pytest.approx(0, abs=1e-17)
    assert (found.r2, found.se, found.p) == (1, 0, 0)


def test_a_beta_is_clipped_and_nothing_else():
    x = returns(1, 90)
    found = s.fit(-7 * x + 0.001 * returns(2, 90), x, **RULES)
    assert (found.beta, found.clipped) == (-5.0, True)
    assert found.unclipped == pytest.approx(-7, rel=1e-2)
    assert found.r2 > 0.99


@pytest.mark.parametrize(
    ("y", "x", "reason"),
    [
        (returns(1, 90, 61), returns(2, 90), "too_few"),
        (returns(1, 90), returns(2, 90, 61), "no_factor_history"),
        (np.zeros(90), returns(2, 90), "constant"),
        (returns(1, 90), np.full(90, 0.25), "constant"),
    ],
)
def test_a_fit_that_cannot_be_says_why(y, x, reason):
    found = s.fit(y, x, **RULES)
    assert (found.reason, found.beta, found.p) == (reason, None, None)


def test_a_bad_print_does_not_hide_the_rest():
    x, y = returns(1, 90), returns(2, 90)
    x[40] = 1e6
    found = s.fit(y, x, **RULES)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
    assert found.beta == pytest.approx(slope, rel=1e-9)


def factors(gaps: int = 0) -> dict[str, np.ndarray]:
    return {f"F{n}": returns(10 + n, 90, gaps) for n in range(3)}


def test_ridge_is_that_of_scikit_learn():
    y, x = returns(1, 90, 3), factors(2)
    found = s.ridge(y, x, alpha=1.0, **RULES)
    table = pd.DataFrame({"y": y, **x}).dropna()
    scaler = StandardScaler().fit(table[[*x]])
    z = scaler.transform(table[[*x]])
    model = SklearnRidge(alpha=1.0).fit(z, table["y"])
    assert [*found.unclipped.values()] == pytest.approx(
        model.coef_ / scaler.scale_, rel=1e-9
    )
    assert found.r2 == pytest.approx(model.score(z, table["y"]), rel=1e-9)
    assert found.condition == pytest.approx(np.linalg.cond(z), rel=1e-9)
    assert found.n == len(table)


def test_ridge_without_penalty_is_least_squares():
    y, x = returns(1, 90), factors()
    found = s.ridge(y, x, alpha=0.0, **RULES)
    model = sm.OLS(y, sm.add_constant(np.column_stack([*x.values()]))).fit()
    assert [*found.unclipped.values()] == pytest.approx(model.params[1:], rel=1e-9)


def test_an_absent_factor_leaves_the_others():
    x = factors()
    with_short = {**x, "S": returns(5, 90, 61), "C": np.zeros(90)}
    assert s.ridge(returns(1, 90), with_short, alpha=1.0, **RULES) == s.ridge(
        returns(1, 90), x, alpha=1.0, **RULES
    )
    none = s.ridge(returns(1, 90), {"C": np.zeros(90)}, alpha=1.0, **RULES)
    assert none.reason == "no_factor_history"


def test_the_same_factor_twice_is_collinear_and_still_has_loadings():
    x = factors()
    found = s.ridge(returns(1, 90), {**x, "F3": x["F0"]}, alpha=1.0, **RULES)
    assert found.condition is None
    assert found.loadings["F0"] == pytest.approx(found.loadings["F3"])


def test_volatility_is_the_standard_deviation_of_the_window():
    series = returns(1, 300, 30)
    frame = pd.Series(series)
    by_window = [
        frame.iloc[n - 20 : n + 1].dropna().std() * np.sqrt(252)
        if frame.iloc[n - 20 : n + 1].count() >= 14
        else np.nan
        for n in range(20, 300)
    ]
    found = s.volatilities(series, 21, 14, 252)
    np.testing.assert_allclose(found, by_window, rtol=1e-12)
    assert s.volatility(series[:21], 14, 252).value == pytest.approx(
        found[0], rel=1e-14
    )
    assert s.volatility(returns(1, 21, 8), 14, 252).reason == "too_few"
    assert s.volatility(np.zeros(21), 14, 252).value == 0


def test_har_is_least_squares_on_the_raw_columns():
    r = returns(1, 252, 4)
    r[-1] = 0.01
    x = pd.Series(r) ** 2
    design = pd.DataFrame(
        {
            "d": x,
            "w": [mean(x, k - 4, k) for k in range(252)],
            "m": [mean(x, k - 21, k) for k in range(252)],
            "y": [mean(x, k + 1, k + 21) for k in range(252)],
        }
    ).iloc[21:]
    rows = design.iloc[:210].dropna()
    model = sm.OLS(rows["y"] * 1e4, sm.add_constant(rows[["d", "w", "m"]] * 1e4)).fit()
    last = design.iloc[-1][["d", "w", "m"]].to_numpy() * 1e4
    forecast = (model.params.iloc[0] + model.params.iloc[1:].to_numpy() @ last) / 1e4
    found = s.har(r, HAR)
    assert (found.reason, found.n) == (None, len(rows))
    assert found.value == pytest.approx(np.sqrt(252 * forecast), rel=1e-9)


@pytest.mark.parametrize("itself", [True, False])
def test_an_intercept_is_exact_among_prints_that_are_wrong(itself):
    chance = np.random.default_rng(5)
    for seed in range(40):
        x, y = returns(2 * seed, 90), returns(2 * seed + 1, 90)
        for series in (x, y):
            at = chance.integers(0, 89, 3)
            series[at] = chance.uniform(10, 1e4, 3)
            series[at + 1] = -0.999
        if itself:
            y = x
        xs, ys = ([Fraction(float(v)) for v in series] for series in (x, y))
        mean_x, mean_y = sum(xs) / 90, sum(ys) / 90
        sxy = sum((a - mean_x) * (b - mean_y) for a, b in zip(xs, ys, strict=True))
        slope = sxy / sum((a - mean_x) ** 2 for a in xs)
        exact = float(mean_y - slope * mean_x)
        found = s.fit(y, x, minimum=30, history=30, cap=5.0)
        assert found.alpha == pytest.approx(exact, rel=1e-9, abs=1e-14)


def test_har_is_sure_of_ordinary_returns_and_of_a_print_that_is_wrong():
    for seed in range(20):
        r = returns(seed, 252, seed % 5)
        r[-1] = 0.01
        assert s.har(r, HAR).sure
        r[252 - 10 * seed - 11] = 1e6
        r[252 - 10 * seed - 10] = -0.999_999
        assert s.har(r, HAR).sure


def test_har_is_not_sure_where_columns_are_nearly_collinear():
    # Of a day's square and its week's mean only a trace is not the same.
    rule = s.HarRule(week=1, month=2, horizon=1, minimum=5, year=252)
    r = np.abs(returns(3, 60)) + 0.01
    assert s.har(r, rule).reason == "collinear"
    rule = s.HarRule(week=2, month=3, horizon=1, minimum=5, year=252)
    assert s.har(r, rule).sure
    # Growth by one factor makes the means multiples of the square.
    steady = 0.01 * 1.1 ** (np.arange(60) / 2)
    found = s.har(steady * (1 + 1e-3 * returns(4, 60)), rule)
    assert (found.reason, found.sure) == (None, False)


def mean(x: pd.Series, low: int, high: int) -> float:
    if low < 0 or high > 251:
        return np.nan
    window = x[low : high + 1]
    enough = window.count() >= -(-2 * (high - low + 1) // 3)
    return window.mean() if enough else np.nan


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda r: r.__setitem__(slice(0, 200), np.nan), "too_few"),
        (lambda r: r.__setitem__(-1, np.nan), "recent_gap"),
        (lambda r: r.__setitem__(slice(-9, -1), np.nan), "recent_gap"),
        (lambda r: r.__setitem__(slice(None), 0.0), "constant"),
    ],
)
def test_har_that_cannot_be_says_why(spoil, reason):
    r = returns(1, 252)
    spoil(r)
    found = s.har(r, HAR)
    assert (found.value, found.reason) == (None, reason)


def test_trend():
    rising = 0.2 + 0.002 * np.arange(21)
    assert s.trend(rising, 14, 0.001, 0.3).word == "increasing"
    assert s.trend(rising[::-1], 14, 0.001, 0.3).word == "decreasing"
    assert s.trend(0.2 + 0.0005 * np.arange(21), 14, 0.001, 0.3).word == "stable"
    assert s.trend(np.full(21, 0.2), 14, 0.001, 0.3) == s.Trend(21, None, "stable", 0.0)
    rising[:8] = np.nan
    assert s.trend(rising, 14, 0.001, 0.3).reason == "too_few"


def test_percentile_counts_equal_ones_half():
    values = np.array([1.0, 2.0, 3.0, 2.0 * (1 + 1e-14), 2.0])
    assert s.percentile(values, 5) == s.Value(50.0, 5, None)
    assert s.percentile(values, 6) == s.Value(None, 5, "too_few")
    assert s.percentile(np.array([1.0, np.nan]), 1).reason == "recent_gap"


def test_correlation_is_pairwise_complete():
    x, y = returns(1, 90, 9), returns(2, 90, 11)
    rho, n, _ = s.correlate(x, y, 30)
    frame = pd.DataFrame({"x": x, "y": y})
    assert rho == pytest.approx(frame.corr(min_periods=30).loc["x", "y"], rel=1e-10)
    assert n == len(frame.dropna())
    assert s.correlate(np.zeros(90), y, 30)[0] is None


def test_nearest_correlation_vector():
    matrix = np.array([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]])
    found, converged = s.nearest_correlation(matrix, 1e-12, 10_000)
    assert converged
    expected = np.array([[1, 0.5, -0.5], [0.5, 1, 0.5], [-0.5, 0.5, 1]])
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert not s.nearest_correlation(matrix, 1e-12, 3)[1]
