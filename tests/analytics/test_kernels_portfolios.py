"""Portfolios' statistics beside plain code, and their laws and nulls."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analytics.kernels import correlation
from analytics.kernels.correlation import nothing
from analytics.kernels.reasons import Reason
from analytics.kernels.risk import (
    factor_keys,
    portfolio_fields,
    portfolio_risk,
    return_volatility,
)
from analytics.kernels.symbols import Statistics, symbol_statistics
from analytics.kernels.windows import Block, Floats
from tests.analytics.kernels_books import (
    BOOKS,
    EVERY,
    FOUND,
    HELD,
    LAST,
    NAV,
    PANEL,
    STATISTICS,
    UNIT,
    Book,
    R,
    holdings,
    of_portfolio,
    plain,
    risk,
    same_bits,
)
from tests.analytics.kernels_world import (
    FACTORS,
    PLACES,
    SYMBOLS,
    bits,
    panel_of,
)
from tests.analytics.test_kernels_bits import PLANTED, plant
from tests.analytics.test_kernels_symbols import close, har_by_hand


@pytest.mark.parametrize("key", factor_keys(FACTORS))
def test_an_exposure_is_the_sum_of_its_lots(key: str) -> None:
    beta, reason = factor_keys(FACTORS)[key]
    for i, held in enumerate(HELD):
        values = FOUND[i].values
        for p, book in enumerate(BOOKS):
            known = {
                s: (net, size, STATISTICS[beta][i, PLACES[s]])
                for s, (net, size) in book.items()
                if STATISTICS[reason][i, PLACES[s]] == 0
            }
            money = sum(net * b for net, _, b in known.values())
            covered = sum(size for _, size, _ in known.values())
            gross = held.gross[p] / UNIT
            assert close(values[f"{key}.coverage"][p], covered / gross, 1e-15)
            if not known:
                assert values[f"{key}.reason"][p] == Reason.NO_COVERAGE
                assert np.isnan(values[f"{key}.value"][p])
                continue
            assert close(values[f"{key}.money"][p], money, 1e-6)
            assert close(values[f"{key}.value"][p], money / NAV[p], 1e-12)
            if key.startswith("spread."):
                size = abs(money / NAV[p])
                tilt = int(size > 0.2) + int(size > 0.5)
                assert values[f"{key}.tilt"][p] == tilt


def series_by_hand(book: Book, nav: int, session: int) -> Floats:
    """Returns that today's weights would have had; NaN where too few names have one."""
    total = sum(abs(net) for net, _ in book.values())
    series = np.zeros(session + 1)
    there = np.zeros(session + 1, np.int64)
    for symbol, (net, _) in book.items():
        r = R[: session + 1, PLACES[symbol]]
        there += np.where(np.isnan(r), 0, abs(net))
        series += net / nav * np.nan_to_num(r)
    return np.where(there * 100 >= 95 * total, series, np.nan)


def test_the_volatility_is_that_of_the_series_of_todays_weights() -> None:
    for held, found in zip(HELD, FOUND, strict=True):
        for p, book in enumerate(BOOKS):
            series = series_by_hand(book, NAV[p], held.session)
            for window in FACTORS.volatility:
                key = f"volatility.{window.sessions}"
                part = pd.Series(series[-window.sessions :])
                assert found.values[f"{key}.n"][p] == part.count()
                if part.count() < window.minimum:
                    assert found.values[f"{key}.reason"][p] == Reason.TOO_FEW
                    continue
                expected = part.std() * np.sqrt(252)
                assert close(found.values[f"{key}.value"][p], expected, 1e-14)
            check_ranks(found.values, p, series)


def check_ranks(values: Statistics, p: int, series: Floats) -> None:
    """HAR, trend and percentile are those of the same series."""
    forecast, rows = har_by_hand(series[-252:])
    assert values["har.n"][p] == rows
    if forecast is None:
        assert values["har.reason"][p] != 0
    else:
        assert close(values["har.value"][p], forecast, 1e-7, 1e-7)
    rolling = pd.Series(series[-252:]).rolling(21, min_periods=14)
    last = rolling.apply(lambda w: np.nanstd(w, ddof=1), raw=True).iloc[20:]
    last = last.to_numpy() * np.sqrt(252)
    there = last[~np.isnan(last)]
    if len(there) >= 155 and not np.isnan(last[-1]):
        equal = np.isclose(there, last[-1], rtol=1e-12, atol=0)
        less = (there < last[-1]) & ~equal
        rank = 100 * (less.sum() + equal.sum() / 2) / len(there)
        assert values["percentile.value"][p] == pytest.approx(rank)
    values_21 = last[-21:]
    some = ~np.isnan(values_21)
    if some.sum() >= 14:
        slope = np.polyfit(np.arange(21.0)[some], values_21[some], 1)[0]
        assert values["trend.slope"][p] == pytest.approx(slope, rel=1e-7, abs=1e-12)


def test_volatility_coverage_is_of_the_netted_names() -> None:
    values = FOUND[-1].values
    assert values["volatility.coverage"][2] == 60_000 / 100_000
    assert values["volatility.coverage"][1] == 110_500 / 140_500


# Laws


def test_a_portfolio_alone_is_as_among_many() -> None:
    rng = np.random.default_rng(2)
    choice = rng.integers(0, len(BOOKS), 400).tolist()
    many = holdings(int(LAST[-1]), [BOOKS[c] for c in choice], [NAV[c] for c in choice])
    among = risk([many])[0]
    for p, book in enumerate(BOOKS):
        alone = risk([holdings(int(LAST[-1]), [book], NAV[p : p + 1])])[0]
        for q in (i for i, c in enumerate(choice) if c == p):
            same_bits(alone, among, 0, q)


def test_a_session_alone_is_as_in_a_range() -> None:
    for i, held in enumerate(HELD):
        rows = {k: v[i : i + 1] for k, v in STATISTICS.items()}
        alone = next(portfolio_risk(PANEL, [held], rows, FACTORS))
        for p in range(len(BOOKS)):
            same_bits(alone, FOUND[i], p, p)


def test_sessions_with_holes_between_them() -> None:
    chosen = [0, 1, 4]
    rows = {k: v[chosen] for k, v in STATISTICS.items()}
    found = list(portfolio_risk(PANEL, [HELD[i] for i in chosen], rows, FACTORS))
    for i, one in zip(chosen, found, strict=True):
        for p in range(len(BOOKS)):
            same_bits(one, FOUND[i], p, p)


def test_the_order_of_columns_changes_no_bit() -> None:
    order = np.random.default_rng(3).permutation(len(SYMBOLS))
    places = {SYMBOLS[c]: i for i, c in enumerate(order.tolist())}
    panel = panel_of(R[:, order])
    statistics = {k: v[:, order] for k, v in STATISTICS.items()}
    uncovered = (0, 30_000)
    held = holdings(int(LAST[-1]), BOOKS, NAV, uncovered=uncovered, places=places)
    mixed = risk([held], statistics, panel)[0]
    for p in range(len(BOOKS)):
        same_bits(mixed, FOUND[-1], p, p)


def test_flipped_signs_flip_exposures_and_leave_the_rest() -> None:
    held = HELD[-1]
    flipped = risk([replace(held, net=-held.net)])[0].values
    for key in factor_keys(FACTORS):
        money, other = FOUND[-1].values[f"{key}.money"], flipped[f"{key}.money"]
        np.testing.assert_array_equal(other, -money)
        coverage = f"{key}.coverage"
        np.testing.assert_array_equal(flipped[coverage], FOUND[-1].values[coverage])
    for window in FACTORS.volatility:
        name = f"volatility.{window.sessions}.value"
        np.testing.assert_array_equal(flipped[name], FOUND[-1].values[name])


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_kernel_is_caught(
    planted: Callable[..., Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, planted)
    monkeypatch.setattr(correlation, "window_sums", planted)
    ranged = risk(HELD)
    broken = 0
    for i, held in enumerate(HELD):
        rows = {k: v[i : i + 1] for k, v in STATISTICS.items()}
        for p, book in enumerate(BOOKS):
            one = holdings(int(LAST[i]), [book], NAV[p : p + 1])
            one = replace(one, gross=held.gross[p : p + 1])
            try:
                alone = next(portfolio_risk(PANEL, [one], rows, FACTORS))
                same_bits(alone, ranged[i], 0, p)
            except AssertionError:
                broken += 1
    assert broken


# Nulls


def test_a_portfolio_without_lots_has_no_positions() -> None:
    found = risk([holdings(int(LAST[-1]), [{}, BOOKS[0]], [100_000, 100_000])])[0]
    reasons = {k: v[0] for k, v in found.values.items() if k.endswith("reason")}
    assert set(reasons.values()) == {np.uint8(Reason.NO_POSITIONS)}
    assert of_portfolio(found, 0) is None
    held = holdings(int(LAST[-1]), [{}], [1])
    assert nothing(held)[0] == Reason.NO_POSITIONS


def test_private_holdings_only_are_no_coverage() -> None:
    held = holdings(int(LAST[-1]), [{}], [100_000], uncovered=(90_000,), held=[True])
    values = risk([held])[0].values
    for key in factor_keys(FACTORS):
        assert values[f"{key}.reason"][0] == Reason.NO_COVERAGE
        assert values[f"{key}.coverage"][0] == 0.0
        assert values[f"{key}.coverage_reason"][0] == 0
    assert values["volatility.coverage"][0] == 0.0
    assert values["volatility.21.reason"][0] == Reason.NO_COVERAGE
    assert nothing(held)[0] == Reason.NO_COVERAGE


def test_nav_of_zero_leaves_what_is_not_divided_by_it() -> None:
    values = risk([holdings(int(LAST[-1]), BOOKS[:2], [0, -5])])[0].values
    whole = risk([holdings(int(LAST[-1]), BOOKS[:2], NAV[:2])])[0].values
    for name in ("market.reason", "volatility.63.reason", "har.reason"):
        assert values[name].tolist() == [Reason.NAV_NOT_POSITIVE] * 2
    for name in ("trend.strength_reason", "percentile.reason"):
        assert values[name].tolist() == [Reason.NAV_NOT_POSITIVE] * 2
    for name in ("market.money", "market.coverage", "volatility.coverage"):
        assert bits(values[name]) == bits(whole[name])


def test_overflow_goes_before_everything() -> None:
    held = replace(HELD[-1], overflow=np.array([True] + [False] * (len(BOOKS) - 1)))
    found = risk([held])[0]
    for name, values in found.values.items():
        if name.endswith("reason"):
            assert values[0] == Reason.OVERFLOW, name
        elif values.dtype == np.float64:
            assert np.isnan(values[0]), name
    assert of_portfolio(found, 0) is None
    for p in range(1, len(BOOKS)):
        same_bits(found, FOUND[-1], p, p)


def test_money_near_the_end_of_64_bits_does_not_wrap() -> None:
    large = 8 * 10**14
    book = plain(S0=large // 2, S1=large // 2 - 1)
    found = risk([holdings(int(LAST[-1]), [book], [large])])[0]
    assert found.values["market.coverage"][0] == 1.0
    assert found.values["volatility.63.n"][0] == 63
    assert of_portfolio(found, 0) is not None


def test_a_factor_without_prices_is_absent_and_leaves_the_others() -> None:
    places = {s: i for s, i in PLACES.items() if s not in ("TLT", "QUAL")}
    found = symbol_statistics(PANEL, LAST[-1:], EVERY, FACTORS, places)
    s0 = PLACES["S0"]
    for name in ("interest_rate", "ridge.QUAL", "spread.QUAL-SPY"):
        assert found[f"{name}.reason"][0, s0] == Reason.NO_FACTOR_HISTORY
    for name in ("market", "ridge", "ridge.MTUM", "spread.MTUM-SPY"):
        assert found[f"{name}.reason"][0, s0] == 0
    values = risk([HELD[-1]], found)[0].values
    assert values["interest_rate.reason"][0] == Reason.NO_COVERAGE
    assert values["market.reason"][0] == 0


def test_twr_volatility_begins_with_the_portfolio() -> None:
    rng = np.random.default_rng(4)
    series = rng.normal(0, 0.01, (252 + 4, 2))
    present = np.ones(series.shape, bool)
    present[:200, 1] = False
    block = Block(np.where(present, series, 0.0), present, 5)
    found = return_volatility(block, FACTORS)
    expected = pd.Series(series[-63:, 0]).std() * np.sqrt(252)
    assert close(found["volatility.63.value"][-1, 0], expected, 1e-14)
    assert found["volatility.252.reason"][-1].tolist() == [0, Reason.TOO_FEW]
    assert found["volatility.63.n"][-1].tolist() == [63, 56]


def test_values_have_the_names_that_are_announced() -> None:
    fields: dict[str, Any] = dict(portfolio_fields(FACTORS))
    values = FOUND[0].values
    assert set(values) == set(fields)
    assert all(values[k].dtype == np.dtype(kind) for k, kind in fields.items())


def test_a_block_without_its_history_is_padded() -> None:
    early = panel_of(R[:10])
    block = early.block(3, 4, 252)
    assert isinstance(block, Block)
    assert block.values.shape == (252, len(SYMBOLS))
    assert not block.present[: 252 - 4].any()
