"""The oracle's risk records against what one can work out by hand."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from analytics.batch import Oracle
from analytics.batch.nested import cells
from analytics.batch.unsure import Unsure
from analytics.calendar import Calendar
from analytics.factors import Factors, Spread, Style
from tests.analytics.tiny_world import lot, portfolio, price, profile, weight

START = date(2023, 1, 1)
N = 300
CALENDAR = Calendar(
    [START.toordinal() + n for n in range(N)],
    list(range(N)),
    START.toordinal(),
    START.toordinal() + N - 1,
)
FACTORS = Factors(
    styles=(Style("Value", "VTV"), Style("Growth", "VUG")),
    spreads=(Spread("VUG", "VTV"),),
)
ENTRY = START + timedelta(N - 40)
LAST = START + timedelta(N - 1)
MARKET = {"SPY": 1, "TLT": 2, "VTV": 3, "VUG": 4}


def walk(symbol: str, seed: int, gaps: tuple[int, ...] = (), start: int = 0) -> list:
    """A price of every session but some; cents, so that they are exact."""
    random = np.random.default_rng(seed)
    path = 100 * np.cumprod(1 + random.normal(0.0003, 0.01, N))
    return [
        price(symbol, START + timedelta(n), Decimal(str(round(path[n], 2))))
        for n in range(start, N)
        if n not in gaps
    ]


PRICES = [row for symbol, seed in MARKET.items() for row in walk(symbol, seed)]


def risk(*lots: dict[str, Any], equity: Any = 1_000_000, **tables: Any) -> dict:
    """The risk record of portfolio 1 at the last session."""
    prices = tables.pop("prices", [])
    rows = {
        "portfolios": [portfolio(1, equity, inception_date=ENTRY)],
        "positions": list(lots),
        "market_data_cache": PRICES + prices,
        **tables,
    }
    oracle = Oracle(rows, CALENDAR, FACTORS)
    returns: list[float | None] = []
    for outcome in oracle.outcomes(1):
        returns.append(outcome.snapshot["daily_return"])
    return oracle.desk.outcome(outcome, returns)


def held(ident: int, symbol: str, quantity: int, **more: Any) -> dict[str, Any]:
    kind = {"position_type": "SHORT"} if quantity < 0 else {}
    return lot(ident, 1, symbol, quantity, 100, ENTRY, **{**kind, **more})


def closing(symbol: str) -> float:
    return float(
        next(p["close"] for p in PRICES if p["symbol"] == symbol and p["date"] == LAST)
    )


def returns_of(symbol: str) -> np.ndarray:
    closes = [float(p["close"]) for p in PRICES if p["symbol"] == symbol]
    return np.array(closes[1:]) / np.array(closes[:-1]) - 1


def test_the_market_itself_has_a_beta_of_its_weight():
    found = risk(held(1, "SPY", 1000))["betas"]["market"]
    value = 1000 * closing("SPY")
    nav = 1_000_000 - 100_000 + value
    assert found["value"] == pytest.approx(value / nav)
    assert found["money"] == pytest.approx(value)
    assert found["coverage"] == 1


def test_every_sign_flipped():
    up = risk(held(1, "SPY", 900), held(2, "VUG", -400))
    down = risk(held(1, "SPY", -900), held(2, "VUG", 400))
    for group in ("betas", "styles", "spreads"):
        for name, found in up[group].items():
            assert down[group][name]["money"] == pytest.approx(-found["money"])
            assert down[group][name]["coverage"] == found["coverage"]
    assert up["correlation"] == down["correlation"]


def test_what_is_not_public_or_not_priced_lowers_coverage():
    found = risk(
        held(1, "SPY", 1000),
        held(2, "X", 1000, investment_class="PRIVATE"),
        held(3, "Y", 1000),
    )
    betas = found["betas"]["market"]
    value = 1000 * closing("SPY")
    assert betas["coverage"] == pytest.approx(value / (value + 200_000))
    assert found["volatility"]["coverage"] == betas["coverage"]
    assert found["correlation"]["names"] == ["SPY"]
    assert found["correlation"]["excluded"] == 2
    assert found["correlation"]["effective_number"] == 1


@pytest.mark.parametrize(
    ("lots", "equity", "reason"),
    [
        ([], 1000, "no_positions"),
        ([held(1, "X", 10, investment_class="PRIVATE")], 1000, "no_coverage"),
        ([held(1, "SPY", 1000)], -1_000_000, "nav_not_positive"),
        (
            [{**held(1, "SPY", 999_999_999_999), "entry_price": Decimal(2000)}],
            1000,
            "overflow",
        ),
    ],
)
def test_nothing_unknown_is_zero(lots, equity, reason):
    found = risk(*lots, equity=equity)
    assert (found["betas"]["market"]["value"], found["betas"]["market"]["reason"]) == (
        None,
        reason,
    )
    assert found["volatility"]["21"] == {"value": None, "n": 0, "reason": reason}
    assert found["volatility"]["har"]["reason"] == reason
    [sectors] = found["sectors"]
    weighed = reason not in ("overflow", "nav_not_positive")
    assert sectors["reason"] == (None if weighed else reason)
    if reason == "nav_not_positive":
        assert found["betas"]["market"]["money"] == pytest.approx(1000 * closing("SPY"))
    if reason == "no_coverage":
        assert found["betas"]["market"]["coverage"] == 0


def test_a_portfolio_of_one_name_moves_as_the_name():
    found = risk(held(1, "SPY", 1000))["volatility"]
    value = 1000 * closing("SPY")
    weight_ = value / (900_000 + value)
    sigma = returns_of("SPY")[-21:].std(ddof=1) * np.sqrt(252)
    assert found["21"]["value"] == pytest.approx(weight_ * sigma)
    assert found["21"]["n"] == 21


def test_a_session_without_a_twentieth_of_the_weight_counts_not():
    gap = (N - 5,)
    prices = walk("A", 11, gap) + walk("B", 12)
    small = risk(held(1, "A", 50), held(2, "B", 1000), prices=prices)["volatility"]
    large = risk(held(1, "A", 150), held(2, "B", 1000), prices=prices)["volatility"]
    assert (small["21"]["n"], large["21"]["n"]) == (21, 19)


def test_own_returns_begin_at_the_first_session():
    found = risk(held(1, "SPY", 1000))["twr_volatility"]
    assert [found[w]["n"] for w in ("21", "63", "252")] == [21, 40, 40]
    assert found["63"]["reason"] == "too_few"


def test_names_are_large_enough_in_exact_numbers():
    prices = [p for n, s in enumerate("ABC") for p in walk(s, 20 + n)]
    by_symbol = {p["symbol"]: p["close"] for p in prices if p["date"] == LAST}
    just = Decimal(10_000) / by_symbol["A"]
    enough = just.quantize(Decimal("0.0001"), rounding="ROUND_UP")
    lots = [
        {**held(1, "A", 1), "quantity": enough},
        {**held(2, "B", 1), "quantity": Decimal(10_000 / float(by_symbol["B"])) // 1},
        held(3, "C", 500),
    ]
    found = risk(*lots, prices=prices)["correlation"]
    assert found["names"] == ["A", "C"]
    assert (found["included"], found["excluded"]) == (2, 1)


def test_correlations_of_pairs():
    prices = walk("A", 31) + walk("B", 31) + walk("C", 33, start=N - 20)
    lots = [held(n, s, 1000) for n, s in enumerate("ABC")]
    found = risk(*lots, prices=prices)["correlation"]
    assert found["rho"][0] == pytest.approx(1)
    assert found["rho"][1:] == [None, None]
    assert found["n"] == [90, 19, 19]
    assert found["pair_reasons"] == [None, "too_few", "too_few"]
    assert found["mean"] == pytest.approx(1)
    assert found["effective_reason"] == "too_few"
    assert (found["null_pairs"], found["incomplete"]) == (2, True)
    assert found["clusters"] == [["A", "B"]]


def test_sectors_beside_a_benchmark():
    profiles = [
        profile("SPY", "Whatever", is_etf=True),
        profile("VTV", "Technology"),
        profile("VUG", None),
    ]
    weights = [
        weight(1, "B", "Information Technology", "0.3", START),
        weight(2, "B", "Technology", "0.3", START),
        weight(3, "B", "Energy", "0.4", START),
        weight(4, "B", "Energy", "1", START + timedelta(N - 2)),
        weight(5, "C", "Energy", "0.5", START),
        weight(6, "D", "Energy", "1", LAST + timedelta(0)),
    ]
    lots = [held(1, "SPY", 1000), held(2, "VTV", -500), held(3, "VUG", 10)]
    found = risk(
        *lots, company_profiles=profiles, benchmarks_sector_weights=weights[:3]
    )["sectors"]
    [block] = found
    assert block["sectors"] == [
        "ETFs",
        "Energy",
        "Information Technology",
        "Unclassified",
    ]
    nav = 1_000_000 + sum(
        quantity * (closing(symbol) - 100)
        for symbol, quantity in (("SPY", 1000), ("VTV", -500), ("VUG", 10))
    )
    tech = -500 * closing("VTV") / nav
    assert block["short"][2] == pytest.approx(tech)
    assert block["active"][1] == -0.4
    assert block["active"][2] == pytest.approx(tech - 0.6)
    assert block["benchmark_flagged"] is False
    b, c, d = risk(*lots, company_profiles=profiles, benchmarks_sector_weights=weights)[
        "sectors"
    ]
    assert (b["date"], b["active"][1]) == ("2023-10-26", -1.0)
    assert c["benchmark_flagged"] is True
    assert d["date"] == LAST.isoformat()


def test_a_benchmark_of_tomorrow_is_none():
    rows = [weight(1, "B", "Energy", "1", LAST)]
    oracle = Oracle(
        {
            "portfolios": [portfolio(1, 1000, inception_date=ENTRY)],
            "market_data_cache": PRICES,
            "benchmarks_sector_weights": rows,
        },
        CALENDAR,
        FACTORS,
    )
    outcomes = list(oracle.outcomes(1))
    [block] = oracle.desk.outcome(outcomes[-2], [])["sectors"]
    assert (block["benchmark"], block["date"], block["sectors"]) == ("B", None, [])
    assert block["active_reason"] == "no_benchmark"


def test_symbols_have_records_from_their_first_price():
    rows = [price("A", START + timedelta(5), 1), price("B", START + timedelta(7), 1)]
    oracle = Oracle({"market_data_cache": rows}, CALENDAR, FACTORS)
    assert oracle.symbols() == ["A", "B"]
    assert [session for session, _ in oracle.symbol("A")] == [5, 6, 7]
    [(_, found)] = oracle.symbol("B")
    assert found["market"]["reason"] == "no_factor_history"
    assert found["ridge"]["loadings"]["Value"]["reason"] == "no_factor_history"
    assert found["volatility"]["21"] == {"value": None, "n": 0, "reason": "too_few"}
    assert found["trend"]["direction"] is None


def differing(expected: Any, found: Any) -> list[str]:
    return [".".join(path) for path, _, _, equal in cells(expected, found) if not equal]


def test_nested_cells_are_compared_by_their_kind():
    one = {
        "market": {"beta": 1.0, "alpha": 0.0, "p": 1e-200, "n": 3, "clipped": False},
        "har": {"value": 0.2},
        "pairs": [0.5, None],
        "tilt": Unsure("strong"),
    }
    same = {
        "market": {
            "beta": 1.0 + 1e-10,
            "alpha": 1e-15,
            "p": 1e-200 * (1 + 1e-7),
            "n": 3,
            "clipped": False,
        },
        "har": {"value": 0.2 + 1e-9},
        "pairs": [0.5, None],
        "tilt": "neutral",
        "status": "final",
    }
    assert differing(one, same) == []
    other = {
        "market": {
            "beta": 1.0 + 1e-8,
            "alpha": 1e-13,
            "p": 1e-199,
            "n": 3.5,
            "clipped": 0,
        },
        "har": {"value": None},
        "pairs": [0.5, 0.1],
        "tilt": "neutral",
        "more": 1,
    }
    assert differing(one, other) == [
        "har.value",
        "market.alpha",
        "market.beta",
        "market.clipped",
        "market.n",
        "market.p",
        "more",
        "pairs.1",
    ]
    assert differing({"a": {"b": 1}}, {"a": None}) == ["a"]
    assert differing({"a": [1]}, {"a": [1, 2]}) == ["a"]
