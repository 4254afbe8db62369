"""The factors' settings: defaults of the text, bounds, and the sample's set."""

from typing import Any

import msgspec
import numpy as np
import pytest

from analytics.factors import (
    SAMPLE_FACTORS,
    Factors,
    FactorsError,
    Spread,
    Style,
    Window,
)
from analytics.kernels.reasons import Reason
from analytics.kernels.symbols import symbol_fields, symbol_statistics
from analytics.kernels.windows import panel
from sample import prices


def test_the_defaults_are_those_of_the_text() -> None:
    factors = Factors()
    assert factors.reach == 252
    assert [w.minimum for w in factors.volatility] == [14, 42, 168]
    assert factors.percentile == Window(232, 155)
    assert [s.key for s in factors.spreads] == [
        "VUG-VTV",
        "MTUM-SPY",
        "IWM-SPY",
        "QUAL-SPY",
    ]
    etfs = {"SPY", "TLT", "MTUM", "VTV", "VUG", "IWM", "QUAL", "USMV"}
    assert set(factors.symbols) == etfs


@pytest.mark.parametrize(
    "change",
    [
        {"market": ""},
        {"beta": Window(90, 91)},
        {"beta": Window(90, 2)},
        {"spread": Window(0, 0)},
        {"ridge_alpha": -1.0},
        {"ridge_alpha": float("nan")},
        {"moderate": 0.6},
        {"beta_cap": 0.0},
        {"covered": 10_001},
        {"volatility": ()},
        {"volatility": (Window(21, 14), Window(21, 15))},
        {"styles": (Style("Size", "IWM"), Style("Small", "IWM"))},
        {"styles": (Style("Size", "IWM"), Style("Size", "SIZE"))},
        {"spreads": (Spread("SPY", "SPY"),)},
        {"har_minimum": 211},
        {"har_week": 23},
        {"nearest_rounds": 0},
        {"cluster": 1.1},
    ],
)
def test_a_value_out_of_bounds_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FactorsError):
        Factors(**change)


def test_settings_come_and_go_as_json() -> None:
    text = msgspec.json.encode(SAMPLE_FACTORS)
    assert msgspec.json.decode(text, type=Factors) == SAMPLE_FACTORS
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"beta_cap": -1}', type=Factors)


def test_the_samples_set_has_every_factor_but_the_bonds() -> None:
    closes = prices.closes()
    symbols = list(closes)
    rows = prices.sessions()[-300:]
    table = [[round(float(closes[s][day]) * 1e6) for s in symbols] for day in rows]
    made = panel(np.array(table), np.full((300, len(symbols)), np.nan))
    places = {symbol: place for place, symbol in enumerate(symbols)}
    columns = np.arange(len(prices.STOCKS))
    found = symbol_statistics(made, np.array([299]), columns, SAMPLE_FACTORS, places)
    for name, values in found.items():
        if name == "interest_rate.reason":
            assert (values == Reason.NO_FACTOR_HISTORY).all()
        elif name.endswith("reason"):
            assert (values == 0).all(), name


@pytest.mark.parametrize("styles", [(), SAMPLE_FACTORS.styles[:1]])
def test_any_number_of_styles(styles: tuple[Style, ...]) -> None:
    factors = Factors(styles=styles, spreads=())
    rng = np.random.default_rng(0)
    close = (1e8 * np.exp(np.cumsum(rng.normal(0, 0.01, (300, 3)), axis=0))).round()
    made = panel(close.astype(np.int64), np.full(close.shape, np.nan))
    places = {"SPY": 0, "MTUM": 1}
    found = symbol_statistics(made, np.array([299]), np.array([2]), factors, places)
    assert set(found) == set(symbol_fields(factors))
    expected = 0 if styles else Reason.NO_FACTOR_HISTORY
    assert found["ridge.reason"][0, 0] == expected
