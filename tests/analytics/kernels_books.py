"""Portfolios of the kernels' world, and how one result is compared with another."""

import numpy as np

from analytics.factors import Factors
from analytics.kernels.aggregate import Holdings
from analytics.kernels.correlation import Matrices
from analytics.kernels.risk import Risk, portfolio_risk
from analytics.kernels.symbols import Statistics, symbol_statistics
from analytics.kernels.windows import Panel
from tests.analytics.kernels_world import (
    FACTORS,
    PLACES,
    SESSIONS,
    SYMBOLS,
    bits,
    matrix,
    panel_of,
)

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


def of_portfolio(found: Risk, p: int) -> tuple[Matrices, int] | None:
    for block in found.correlations:
        at = np.flatnonzero(block.names.portfolios == p)
        if len(at):
            return block, int(at[0])
    return None


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
