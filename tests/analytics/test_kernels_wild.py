"""Closes that are wrong by up to eight digits, many at once.

Prints on one day make factors all but collinear and means so large that an alpha
is the difference of two numbers a million million times its size. Singular values of
Z and fractions say what is right.
"""

from fractions import Fraction

import numpy as np
import pytest

from analytics.kernels.intercept import exact_product, intercepts
from analytics.kernels.linear import singular
from analytics.kernels.symbols import Statistics, symbol_statistics
from analytics.kernels.windows import Floats
from tests.analytics.kernels_world import (
    FACTORS,
    PLACES,
    SESSIONS,
    SYMBOLS,
    bits,
    matrix,
    panel_of,
)

LAST = SESSIONS - 1
EVERY = np.arange(len(SYMBOLS))
DAYS = (250, 260, 300)


def wild(seed: int) -> Floats:
    """Returns after up to 40 prints, most of them of factors and on three days."""
    rng = np.random.default_rng(seed)
    r = matrix(seed)
    for _ in range(rng.integers(2, 40)):
        day, column = rng.integers(200, LAST - 1), rng.integers(0, len(SYMBOLS))
        if rng.random() < 0.7:
            day, column = rng.choice(DAYS), rng.integers(0, len(FACTORS.symbols))
        times = 10 ** rng.uniform(-5, 8)
        r[day, column], r[day + 1, column] = times - 1, 1 / times - 1
    return r


def found_in(r: Floats, sessions: list[int], columns: Floats = EVERY) -> Statistics:
    return symbol_statistics(
        panel_of(r), np.array(sessions), np.asarray(columns, np.intp), FACTORS, PLACES
    )


def intercept(y: Floats, x: Floats) -> float:
    """Of exact numbers."""
    rows = ~np.isnan(y) & ~np.isnan(x)
    xs, ys = (np.array([Fraction(v) for v in of[rows]]) for of in (x, y))
    mean_x, mean_y = xs.sum() / len(xs), ys.sum() / len(ys)
    offsets = xs - mean_x
    slope = (offsets * ys).sum() / (offsets * offsets).sum()
    return float(mean_y - slope * mean_x)


@pytest.mark.parametrize("seed", [0, 2, 3, 7, 11])
def test_an_alpha_among_prints(seed: int) -> None:
    r = wild(seed)
    found = found_in(r, [LAST])
    compared = 0
    for spread in FACTORS.spreads:
        x = r[-180:, PLACES[spread.long]] - r[-180:, PLACES[spread.short]]
        if abs(np.nanmean(x)) < 1:
            continue
        group = f"spread.{spread.long}-{spread.short}"
        for name in ("SPY", "TLT", "MTUM", "VTV", "S1", "GAPPY"):
            y = r[-180:, PLACES[name]]
            exact = intercept(y, x)
            ours = found[f"{group}.alpha"][0, PLACES[name]]
            assert abs(ours - exact) <= 1e-9 * abs(exact) + 1e-14, (group, name)
            compared += 1
    assert compared


@pytest.mark.parametrize("seed", range(12))
def test_a_condition_number_among_prints(seed: int) -> None:
    r = wild(seed)
    found = found_in(r, [LAST])
    styles = r[-90:, [PLACES[style.symbol] for style in FACTORS.styles]]
    for name in ("S1", "GAPPY", "YOUNG"):
        place = PLACES[name]
        rows = ~np.isnan(r[-90:, place]) & ~np.isnan(styles).any(axis=1)
        x = styles[rows] - styles[rows].mean(axis=0)
        z = (x - x.mean(axis=0)) / x.std(axis=0)
        values = np.linalg.svd(z, compute_uv=False)
        condition = values[0] / values[-1]
        ours = found["ridge.condition"][0, place]
        if condition >= 1e6 * (1 + 1e-6):
            assert np.isnan(ours)
        elif condition <= 1e6 * (1 - 1e-6):
            assert ours == pytest.approx(condition, rel=1e-6)


def test_their_bits_are_those_of_a_symbol_alone() -> None:
    r = wild(3)
    sessions = list(range(LAST - 11, LAST + 1))
    among = found_in(r, sessions)
    assert abs(np.nanmean(r[-180:, PLACES["MTUM"]] - r[-180:, PLACES["SPY"]])) > 1
    thin = 0
    for name in ("SPY", "S1", "GAPPY", "YOUNG"):
        for session in sessions[::4]:
            alone = found_in(r, [session], np.array([PLACES[name]]))
            at = sessions.index(session)
            for key, values in alone.items():
                both = among[key][at, PLACES[name]], values[0, 0]
                assert bits(both[0]) == bits(both[1]), (key, name, session)
            thin += alone["ridge.condition"][0, 0] > 1e3
    assert thin


def test_singular_values_keep_the_digits_that_eigenvalues_lose() -> None:
    rng = np.random.default_rng(1)
    tall = rng.normal(size=(6, 90, 4))
    tall[1] = tall[0] + 1e-6 * tall[1]
    theirs = [np.linalg.svd(tall[:, :, k].T, compute_uv=False) for k in range(4)]
    ours = np.sort(singular(tall.copy()), axis=0)[::-1].T
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_a_product_and_what_rounding_took() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 500)) * 10 ** rng.uniform(-9, 9, (2, 500))
    product, rest = exact_product(a, b)
    for x, y, rounded, lost in zip(a, b, product, rest, strict=True):
        assert Fraction(rounded) + Fraction(lost) == Fraction(x) * Fraction(y)


def test_an_alpha_of_means_beyond_two_doubles_is_the_nearest_double() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(0, 0.01, (2, 90, 20))
    cells = np.arange(20)
    x[7, cells] = y[7, cells] = 10.0 ** rng.uniform(12, 150, 20)
    x[30], y[30] = 0.0, 0.0
    found = intercepts(y, x, np.full(20, 89.0))
    for cell in cells:
        rows = np.arange(90) != 30
        assert found[cell] == intercept(y[rows, cell], x[rows, cell])
