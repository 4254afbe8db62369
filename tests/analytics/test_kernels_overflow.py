"""Returns whose squares are beyond a double by a little: infinite, and not constant."""

import numpy as np
import pytest

from analytics.kernels.pairs import correlations
from analytics.kernels.reasons import Reason
from analytics.kernels.symbols import Statistics, symbol_statistics
from analytics.kernels.windows import Floats
from tests.analytics.kernels_world import (
    FACTORS,
    PLACES,
    SESSIONS,
    SYMBOLS,
    matrix,
    panel_of,
)

LAST = SESSIONS - 1
BESIDE = 2e154
"""Its square is no double; that of the sum of a window, divided by its rows, is one."""


def found_in(r: Floats) -> Statistics:
    every = np.arange(len(SYMBOLS))
    return symbol_statistics(panel_of(r), np.array([LAST]), every, FACTORS, PLACES)


def printed(symbol: str, size: float, day: int = LAST - 30) -> Floats:
    r = matrix()
    r[day, PLACES[symbol]] = size
    return r


@pytest.mark.parametrize("size", [BESIDE, 1e200, 1e300])
def test_a_symbol_and_a_factor_beyond(size: float) -> None:
    of_symbol, of_factor = found_in(printed("S1", size)), found_in(printed("SPY", size))
    for found, symbol in ((of_symbol, "S1"), (of_factor, "S2")):
        assert found["market.reason"][0, PLACES[symbol]] == Reason.OVERFLOW
    assert of_symbol["ridge.reason"][0, PLACES["S1"]] == Reason.OVERFLOW
    assert of_symbol["volatility.63.reason"][0, PLACES["S1"]] == Reason.OVERFLOW


@pytest.mark.parametrize("size", [BESIDE, 1e200])
def test_a_style_beyond_is_not_absent(size: float) -> None:
    found = found_in(printed("MTUM", size))
    assert found["ridge.reason"][0, PLACES["S1"]] == Reason.OVERFLOW
    for name, values in found.items():
        if name.startswith("ridge.") and name.endswith("reason"):
            assert values[0, PLACES["S1"]] == Reason.OVERFLOW, name


@pytest.mark.parametrize("size", [BESIDE, 1e200])
def test_a_pair_beyond(size: float) -> None:
    panel = panel_of(printed("S1", size))
    block = panel.block(LAST, LAST + 1, FACTORS.correlation.sessions)
    left, right = np.array([PLACES["S1"]]), np.array([PLACES["S2"]])
    with np.errstate(all="ignore"):
        pairs = correlations(block, left, right, FACTORS.correlation)
    assert pairs.reason[0, 0] == Reason.OVERFLOW


def test_what_one_of_the_two_has_alone_is_not_in_their_beta() -> None:
    r = printed("S1", 1e152)
    r[LAST - 20, PLACES["S1"]] = np.nan
    without = found_in(r)
    r[LAST - 20, PLACES["SPY"]] = 1e250
    found = found_in(r)
    for name in ("beta", "alpha", "se", "r2", "reason"):
        both = (each[f"market.{name}"][0, PLACES["S1"]] for each in (without, found))
        assert next(both) == next(both)
    assert found["market.reason"][0, PLACES["S1"]] == 0


def test_a_standard_error_whose_square_is_no_double() -> None:
    r = printed("S1", 1e154)
    r[:, PLACES["SPY"]] /= 1000
    found = found_in(r)
    se = found["market.se"][0, PLACES["S1"]]
    assert found["market.reason"][0, PLACES["S1"]] == 0
    assert 1e150 < se < 1e170


def test_a_trend_beyond() -> None:
    """One volatility of 1e154 a session is a double; its square is not."""
    found = found_in(printed("S1", 1e154, LAST - 5))
    assert found["volatility.21.reason"][0, PLACES["S1"]] == 0
    assert found["trend.reason"][0, PLACES["S1"]] == Reason.OVERFLOW
    assert found["trend.strength_reason"][0, PLACES["S1"]] == Reason.OVERFLOW


def test_a_forecast_beyond() -> None:
    """Fourth powers leave a double before squares do."""
    for size in (2e77, 1e80, 1e154):
        found = found_in(printed("S1", size, LAST - 60))
        assert found["har.reason"][0, PLACES["S1"]] == Reason.OVERFLOW
