"""Portfolios' statistics beside plain code, and their laws and nulls."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analytics.factors import Factors
from analytics.kernels import correlation
from analytics.kernels.aggregate import Holdings
from analytics.kernels.correlation import Matrices, nothing
from analytics.kernels.nearest import nearest_correlations
from analytics.kernels.reasons import Reason
from analytics.kernels.risk import (
    Risk,
    factor_keys,
    portfolio_fields,
    portfolio_risk,
    return_volatility,
)
from analytics.kernels.symbols import Statistics, symbol_statistics
from analytics.kernels.windows import Block, Floats, Panel
from tests.analytics.kernels_world import (
    FACTORS,
    PLACES,
    SESSIONS,
    SYMBOLS,
    bits,
    matrix,
    panel_of,
)
from tests.analytics.test_kernels_bits import PLANTED, plant
from tests.analytics.test_kernels_symbols import close, har_by_hand

R = matrix()
PANEL = panel_of(R)
LAST = np.arange(SESSIONS - 6, SESSIONS)
EVERY = np.arange(len(SYMBOLS))
STATISTICS = symbol_statistics(PANEL, LAST, EVERY, FACTORS, PLACES)
UNIT = 10_000
Book = dict[str, tuple[int, int]]
"""Net and Σ|MV| by symbol, in units of money; in any order."""


def holdings(
    session: int,
    books: list[Book],
    nav: list[int],
    *,
    uncovered: tuple[int, ...] = (),
    held: list[bool] | None = None,
    places: dict[str, int] = PLACES,
) -> Holdings:
    """Holdings of some books; ``uncovered`` is gross of lots that do not take part."""
    entries = [(p, s, book[s]) for p, book in enumerate(books) for s in sorted(book)]
    counts = [len(book) for book in books]
    gross = [sum(size for _, size in book.values()) for book in books]
    other = [*uncovered, *[0] * len(books)]
    return Holdings(
        session=session,
        nav=np.array(nav) * UNIT,
        gross=np.array([g + o for g, o in zip(gross, other, strict=False)]) * UNIT,
        held=np.array(held if held is not None else [c > 0 for c in counts], bool),
        overflow=np.zeros(len(books), bool),
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        columns=np.array([places[s] for _, s, _ in entries], np.intp),
        net=np.array([net for *_, (net, _) in entries], np.int64) * UNIT,
        size=np.array([size for *_, (_, size) in entries], np.int64) * UNIT,
    )


def plain(**net: int) -> Book:
    return {symbol: (value, abs(value)) for symbol, value in net.items()}


BOOKS = [
    plain(S0=50_000, S1=30_000, S2=-20_000, GAPPY=15_000),
    plain(S3=40_000, YOUNG=30_000, DOUBLE=30_000, SPY=10_000, S5=500),
    {"S1": (0, 40_000), "S4": (60_000, 60_000)},
    plain(S2=100_000),
    plain(MENDED=30_000, S0=40_000, S5=-30_000),
    plain(NEW=20_000, FLAT=30_000, S0=1_000_000),
    plain(GAPPY=50_000, STOPPED=50_000),
]
NAV = [100_000, 120_000, 90_000, 80_000, 110_000, 1_000_000, 100_000]


def risk(
    held: list[Holdings],
    statistics: Statistics = STATISTICS,
    panel: Panel = PANEL,
    factors: Factors = FACTORS,
) -> list[Risk]:
    rows = {k: v[len(v) - len(held) :] for k, v in statistics.items()}
    return list(portfolio_risk(panel, held, rows, factors))


HELD = [holdings(int(t), BOOKS, NAV, uncovered=(0, 30_000)) for t in LAST]
FOUND = risk(HELD)


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


def of_portfolio(found: Risk, p: int) -> tuple[Matrices, int] | None:
    for block in found.correlations:
        at = np.flatnonzero(block.names.portfolios == p)
        if len(at):
            return block, int(at[0])
    return None


def names_by_hand(book: Book, gross: float) -> list[str]:
    return [
        s
        for s in sorted(book)
        if abs(book[s][0]) >= 10_000 and abs(book[s][0]) * 100 >= gross
    ]


def correlations_by_hand(names: list[str], session: int) -> tuple[Floats, Floats]:
    frame = pd.DataFrame(R[session - 89 : session + 1][:, [PLACES[s] for s in names]])
    rho = frame.corr(min_periods=30).to_numpy()
    there = frame.notna().astype(int)
    return rho, (there.T @ there).to_numpy()


def test_correlations_are_those_of_pandas() -> None:
    for held, found in zip(HELD, FOUND, strict=True):
        for p, book in enumerate(BOOKS):
            names = names_by_hand(book, float(held.gross[p]) / UNIT)
            got = of_portfolio(found, p)
            assert got is not None
            block, at = got
            columns = held.columns[block.names.entries[:, at]]
            assert [SYMBOLS[c] for c in columns] == names
            check_matrix(block, at, names, book, held.session)


def check_matrix(
    block: Matrices, at: int, names: list[str], book: Book, session: int
) -> None:
    rho, n = correlations_by_hand(names, session)
    weights = np.array([abs(book[s][0]) for s in names], float)
    weights /= weights.sum()
    pairs = list(combinations(range(len(names)), 2))
    products = []
    for place, (i, j) in enumerate(pairs):
        assert block.n[place, at] == n[i, j]
        value = block.rho[place, at]
        if np.isnan(rho[i, j]):
            assert block.pair_reason[place, at] != 0
            continue
        assert block.pair_reason[place, at] == 0
        assert close(value, rho[i, j], 1e-12)
        products.append((weights[i] * weights[j], rho[i, j]))
    nulls = len(pairs) - len(products)
    assert block.null_pairs[at] == nulls
    assert not block.repaired[at]
    if products:
        w, values = np.array(products).T
        assert close(block.mean[at], values.mean(), 1e-12)
        assert close(block.weighted_mean[at], (w * values).sum() / w.sum(), 1e-12)
    else:
        assert block.mean_reason[at] != 0
    if nulls:
        assert block.effective_reason[at] != 0
        assert np.isnan(block.effective[at])
    else:
        full = np.where(np.eye(len(names)) > 0, 1.0, rho)
        assert close(block.effective[at], 1 / (weights @ full @ weights), 1e-12)
    assert clusters(block, at) == clusters_by_hand(rho)


def clusters(block: Matrices, at: int) -> set[frozenset[int]]:
    labels = block.cluster[:, at]
    groups = [
        frozenset(np.flatnonzero(labels == c).tolist()) for c in set(labels) - {0}
    ]
    return set(groups)


def clusters_by_hand(rho: Floats) -> set[frozenset[int]]:
    left, found = set(range(len(rho))), set()
    while left:
        group, edge = set(), {left.pop()}
        while edge:
            i = edge.pop()
            group.add(i)
            edge |= {j for j in left if abs(rho[i, j]) >= 0.7}
            left -= edge
        if len(group) > 1:
            found.add(frozenset(group))
    return found


def by_lapack(c: Floats) -> Floats:
    """Higham's algorithm once more, with numpy's eigenvalues."""
    y, correction = c, np.zeros_like(c)
    for _ in range(10_000):
        r = y - correction
        values, vectors = np.linalg.eigh(r)
        x = vectors @ np.diag(np.maximum(values, 0)) @ vectors.T
        correction = x - r
        new = x.copy()
        np.fill_diagonal(new, 1)
        if np.abs(new - x).max() < 1e-13 and np.abs(new - y).max() < 1e-13:
            return new
        y = new
    raise AssertionError


def impossible(n: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    while True:
        c = np.tril(rng.uniform(-0.95, 0.95, (n, n)), -1)
        c = c + c.T + np.eye(n)
        if np.linalg.eigvalsh(c)[0] < -0.05:
            return c


@pytest.mark.parametrize("n", [3, 4, 7, 12])
def test_the_nearest_correlation_matrix(n: int) -> None:
    several = [impossible(n, seed) for seed in range(3)]
    together, converged = nearest_correlations(np.stack(several, axis=2), 1e-12, 10_000)
    assert converged.all()
    for i, c in enumerate(several):
        np.testing.assert_allclose(together[:, :, i], by_lapack(c), atol=1e-8)
        alone, _ = nearest_correlations(c[:, :, None], 1e-12, 10_000)
        assert bits(alone[:, :, 0]) == bits(together[:, :, i])


def test_a_repair_that_does_not_converge_is_said() -> None:
    c = impossible(5, 1)[:, :, None]
    assert not nearest_correlations(c, 1e-12, 2)[1][0]


def broken_world() -> tuple[Panel, Book]:
    """A and B agree while C is away; C agrees with A, and opposes B, else."""
    rng = np.random.default_rng(0)
    r = matrix()
    a, b, c = (PLACES[s] for s in ("S0", "S1", "S2"))
    x, noise = rng.normal(0, 0.01, SESSIONS), rng.normal(0, 0.003, (3, SESSIONS))
    third = np.arange(SESSIONS) % 3
    r[:, a] = np.where(third == 2, np.nan, x + noise[0])
    r[:, b] = np.where(third == 1, np.nan, np.where(third == 2, -x, x) + noise[1])
    r[:, c] = np.where(third == 0, np.nan, x + noise[2])
    return panel_of(r), plain(S0=30_000, S1=40_000, S2=50_000)


def test_correlations_that_no_data_could_have_are_repaired() -> None:
    panel, book = broken_world()
    held = [holdings(SESSIONS - 1, [book], [100_000])]
    statistics = symbol_statistics(panel, LAST[-1:], EVERY, FACTORS, PLACES)
    factors = Factors()
    got = of_portfolio(risk(held, statistics, panel, factors)[0], 0)
    assert got is not None
    block, at = got
    assert block.n[:, at].tolist() == [30, 30, 30]
    r = np.where(panel.present, panel.values, np.nan)[-90:]
    frame = pd.DataFrame(r[:, [PLACES[s] for s in sorted(book)]])
    before = frame.corr().to_numpy()
    assert np.linalg.eigvalsh(before)[0] < -0.1
    assert block.repaired[at]
    near = by_lapack(before)[np.triu_indices(3, 1)]
    np.testing.assert_allclose(block.rho[:, at], near, atol=1e-7)
    few = Factors(nearest_rounds=1)
    got = of_portfolio(risk(held, statistics, panel, few)[0], 0)
    assert got is not None
    assert (got[0].pair_reason == Reason.NOT_CONVERGED).all()
    assert got[0].effective_reason[0] == Reason.NOT_CONVERGED
    assert np.isnan(got[0].rho).all()


def test_one_name_is_one_bet() -> None:
    got = of_portfolio(FOUND[-1], 3)
    assert got is not None
    block, at = got
    assert block.effective[at] == 1.0
    assert block.mean_reason[at] == Reason.TOO_FEW


# Laws


def same_bits(one: Risk, other: Risk, p: int, q: int) -> None:
    """Portfolio p of one result has the bits of portfolio q of another."""
    for name in one.values:
        assert bits(one.values[name][p]) == bits(other.values[name][q]), name
    first, second = of_portfolio(one, p), of_portfolio(other, q)
    assert (first is None) == (second is None)
    if first is None or second is None:
        return
    for name in ("rho", "n", "pair_reason", "repaired", "mean", "weighted_mean"):
        a = getattr(first[0], name)[..., first[1]]
        assert bits(a) == bits(getattr(second[0], name)[..., second[1]]), name
    for name in ("effective", "effective_reason", "null_pairs", "cluster"):
        a = getattr(first[0], name)[..., first[1]]
        assert bits(a) == bits(getattr(second[0], name)[..., second[1]]), name


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
    found = return_volatility(np.where(present, series, 0.0), present, FACTORS)
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
