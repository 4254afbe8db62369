"""Correlations beside pandas, and their repair beside numpy's eigenvalues."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from analytics.factors import Factors
from analytics.kernels.correlation import Matrices
from analytics.kernels.nearest import nearest_correlations
from analytics.kernels.reasons import Reason
from analytics.kernels.symbols import symbol_statistics
from analytics.kernels.windows import Floats, Panel
from tests.analytics.kernels_books import (
    BOOKS,
    EVERY,
    FOUND,
    HELD,
    LAST,
    UNIT,
    Book,
    R,
    holdings,
    of_portfolio,
    plain,
    risk,
)
from tests.analytics.kernels_world import (
    FACTORS,
    PLACES,
    SESSIONS,
    SYMBOLS,
    bits,
    matrix,
    panel_of,
)
from tests.analytics.test_kernels_symbols import close


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
