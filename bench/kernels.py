"""The kernels alone: what a statistic costs, and beside other libraries.

Every symbol's statistics of a range of sessions, of one session and of one cell; the
statistics of 1000 portfolios; memory of 10 000 symbols x 600 sessions; and the same
work by pandas, statsmodels and scikit-learn, and by numbagg and polars for what they
have (when installed). Those are not bit-stable: numbagg and polars keep running sums.

    python -m bench.kernels --symbols 1200 --sessions 87 --portfolios 1000 --runs 3
"""

from __future__ import annotations

import argparse
import importlib
import resource
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import process_time
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from statsmodels.regression.rolling import RollingOLS

from analytics.factors import Factors
from analytics.kernels import ols, ridge
from analytics.kernels.aggregate import Holdings
from analytics.kernels.har import forecast
from analytics.kernels.pairs import correlations
from analytics.kernels.risk import portfolio_risk
from analytics.kernels.symbols import (
    CELLS_AT_ONCE,
    Regressors,
    symbol_fields,
    symbol_statistics,
)
from analytics.kernels.volatility import annualised, history, percentile, trend
from analytics.kernels.windows import Block, Floats, Ints, Panel
from bench.machine import head, spread

FACTORS = Factors()
NAMES = 21
SLOW = 40
"""Cells on which the slow libraries are measured; their cost is per cell."""


def universe(symbols: int, sessions: int) -> Panel:
    """Seeded returns with a market in them; the first columns are the factors."""
    rng = np.random.default_rng(7)
    market = rng.normal(3e-4, 0.01, (sessions, 1))
    beta = rng.uniform(0.4, 1.6, symbols)
    values = market * beta + rng.normal(0, 0.015, (sessions, symbols))
    return Panel(values, np.ones(values.shape, bool))


def seconds(work: Callable[[], object], runs: int) -> list[float]:
    """CPU seconds of some runs, after one to warm up."""
    work()
    found = []
    for _ in range(runs):
        start = process_time()
        work()
        found.append(process_time() - start)
    return found


class Bench:
    """One panel and what is asked of it."""

    def __init__(self, symbols: int, sessions: int, runs: int) -> None:
        self.count, self.sessions, self.runs = symbols, sessions, runs
        held = len(FACTORS.symbols)
        self.places = {symbol: i for i, symbol in enumerate(FACTORS.symbols)}
        self.total = sessions + FACTORS.reach
        self.panel = universe(held + symbols, self.total)
        self.columns = np.arange(held, held + symbols)
        self.last = np.arange(self.total - sessions, self.total)

    def say(self, name: str, taken: list[float], cells: int) -> None:
        """Print what it took, and by cell."""
        each = min(taken) / cells * 1e6
        print(f"   {name:<46} {spread(taken, 's', 3)}  ({each:.3f} us a cell)")

    def statistics(self, sessions: Ints, columns: Ints) -> Callable[[], object]:
        """Compute all statistics of a rectangle."""
        return lambda: symbol_statistics(
            self.panel, sessions, columns, FACTORS, self.places
        )

    def symbols(self) -> None:
        """All statistics of symbols, whole and by family."""
        head(f"all statistics of {self.count} symbols x {self.sessions} sessions (CPU)")
        cells = self.count * self.sessions
        taken = seconds(self.statistics(self.last, self.columns), self.runs)
        self.say("all: 2 betas, ridge, 4 spreads, 3 vols, HAR, …", taken, cells)
        for name, work in self.families():
            self.say(f"  {name}", seconds(work, self.runs), cells)
        taken = seconds(self.statistics(self.last[-1:], self.columns), self.runs)
        self.say("one session of all symbols", taken, self.count)
        taken = seconds(self.statistics(self.last, self.columns[:1]), self.runs)
        self.say("one symbol in all sessions", taken, self.sessions)
        taken = seconds(self.statistics(self.last[-1:], self.columns[:1]), self.runs)
        self.say("one cell", taken, 1)

    def tiles(self) -> Iterator[Block]:
        """Blocks of symbols, as ``symbol_statistics`` cuts them."""
        start, stop = int(self.last[0]), int(self.last[-1]) + 1
        width = max(CELLS_AT_ONCE // (self.sessions + FACTORS.reach - 1), 1)
        for low in range(0, self.count, width):
            chosen = self.columns[low : low + width]
            yield self.panel.block(start, stop, FACTORS.reach, chosen)

    def families(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Each family by itself."""
        start, stop = int(self.last[0]), int(self.last[-1]) + 1
        regressors = Regressors(self.panel, start, stop, FACTORS, self.places)
        single = ols.Rule(FACTORS.beta, FACTORS.history, FACTORS.beta_cap)
        double = ols.Rule(FACTORS.spread, FACTORS.spread.minimum, FACTORS.beta_cap)
        shortest = FACTORS.volatility[0]

        def regressions(factors: list[Block], rule: ols.Rule) -> None:
            for tile in self.tiles():
                target = ols.Target(tile)
                for factor in factors:
                    ols.regress(target, factor, rule)

        def ranks() -> None:
            for tile in self.tiles():
                values = history(tile, shortest, FACTORS.year, 232)
                trend(values, FACTORS.trend, FACTORS.trend_slope, FACTORS.trend_r2)
                percentile(values, FACTORS.percentile)

        def ridges() -> None:
            for tile in self.tiles():
                ridge.ridge(ols.Target(tile), regressors.styles)

        betas = [regressors.market, regressors.interest_rate]
        yield "2 betas", quiet(lambda: regressions(betas, single))
        yield "4 spreads", quiet(lambda: regressions(regressors.spreads, double))
        yield f"ridge of {len(FACTORS.styles)}", quiet(ridges)
        yield (
            "volatility 21, 63, 252",
            quiet(
                lambda: [
                    annualised(tile, window, FACTORS.year)
                    for tile in self.tiles()
                    for window in FACTORS.volatility
                ]
            ),
        )
        yield "HAR", quiet(lambda: [forecast(tile, FACTORS) for tile in self.tiles()])
        yield "trend and percentile", quiet(ranks)

    def beside(self) -> None:
        """Compare with libraries that do the same work, and with some that do part."""
        head("the same work by other libraries (CPU, by cell; ours includes p-values)")
        cells = self.count * self.sessions
        values = self.panel.values[-(self.sessions + 251) :]
        frame, market = pd.DataFrame(values[:, self.columns]), values[:, 0]
        by_family = dict(self.families())
        ours = min(seconds(by_family["volatility 21, 63, 252"], self.runs)) / cells
        self.compare("rolling std 21, 63, 252", ours, self.deviations(frame), cells)
        ours = min(seconds(by_family["2 betas"], self.runs)) / cells / 2
        self.compare("a regression over 90", ours, self.slow_ols(market), SLOW)
        self.compare("a regression over 90", ours, self.rolling_ols(market), SLOW)
        ours = min(seconds(by_family["ridge of 6"], self.runs)) / cells
        self.compare("a ridge over 90", ours, self.slow_ridge(), SLOW)
        block = self.panel.block(int(self.last[0]), self.total, 90)
        right = np.zeros_like(self.columns)
        pair = quiet(
            lambda: correlations(block, self.columns, right, FACTORS.correlation)
        )
        ours = min(seconds(pair, self.runs)) / cells
        self.compare("a correlation over 90", ours, self.moving(frame, market), cells)

    def compare(
        self,
        what: str,
        ours: float,
        others: Iterator[tuple[str, Callable[[], object]]],
        cells: int,
    ) -> None:
        """Print theirs, and how many times ours."""
        for name, work in others:
            theirs = min(seconds(work, 2)) / cells
            times = f"{theirs / ours:8.1f} x ours, {ours * 1e6:.3f} us"
            print(f"   {what:<26} {name:<34} {theirs * 1e6:10.3f} us {times}")

    def deviations(self, frame: Any) -> Iterator[tuple[str, Callable[[], object]]]:
        """Give rolling standard deviations."""
        windows = (21, 63, 252)
        yield (
            "pandas rolling.std",
            lambda: [frame.rolling(w, min_periods=14).std() for w in windows],
        )
        if numbagg := optional("numbagg"):
            array = np.ascontiguousarray(frame.to_numpy().T)
            yield (
                "numbagg.move_std",
                lambda: [
                    numbagg.move_std(array, window=w, min_count=14) for w in windows
                ],
            )
        if polars := optional("polars"):
            table = polars.DataFrame(frame.to_numpy())
            every = polars.all()
            yield (
                "polars rolling_std",
                lambda: [
                    table.select(every.rolling_std(w, min_samples=14)) for w in windows
                ],
            )

    def moving(
        self, frame: Any, market: Floats
    ) -> Iterator[tuple[str, Callable[[], object]]]:
        """Give rolling correlations with the market."""
        series = pd.Series(market)
        yield "pandas rolling.corr", lambda: frame.rolling(90).corr(series)
        if numbagg := optional("numbagg"):
            array = np.ascontiguousarray(frame.to_numpy().T)
            other = np.ascontiguousarray(np.broadcast_to(market, array.shape))
            yield (
                "numbagg.move_corr",
                lambda: numbagg.move_corr(array, other, window=90),
            )
        if polars := optional("polars"):
            table = polars.DataFrame(frame.to_numpy())
            table = table.with_columns(market=polars.Series(market))
            expressions = [
                polars.rolling_corr(name, "market", window_size=90).alias(name)
                for name in table.columns[:-1]
            ]
            yield "polars rolling_corr", lambda: table.select(expressions)

    def windows(self, width: int) -> list[tuple[Floats, Floats]]:
        """Cut some windows of 90 rows: a symbol's returns and the factors'."""
        values = self.panel.values
        cells = [(self.columns[i % self.count], self.total - i) for i in range(SLOW)]
        return [
            (values[t - 90 : t, column], values[t - 90 : t, :width])
            for column, t in cells
        ]

    def slow_ols(self, market: Floats) -> Iterator[tuple[str, Callable[[], object]]]:
        """Fit a window at a time."""
        del market
        windows = self.windows(1)

        def fit() -> None:
            for y, x in windows:
                found = sm.OLS(y, sm.add_constant(x)).fit()
                _ = found.params, found.bse, found.pvalues, found.rsquared

        yield "statsmodels OLS", fit

    def rolling_ols(self, market: Floats) -> Iterator[tuple[str, Callable[[], object]]]:
        """Fit all windows of one symbol."""
        y = self.panel.values[-(90 + SLOW - 1) :, self.columns[0]]
        x = sm.add_constant(market[-(90 + SLOW - 1) :])

        def fit() -> None:
            found = RollingOLS(y, x, 90).fit(use_t=True)
            _ = found.params, found.bse, found.pvalues, found.rsquared

        yield "statsmodels RollingOLS", fit

    def slow_ridge(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Standardise and fit a window at a time."""
        linear = optional("sklearn.linear_model")
        scaling = optional("sklearn.preprocessing")
        if not linear or not scaling:
            return
        windows = self.windows(len(FACTORS.styles))

        def fit() -> None:
            for y, z in windows:
                scale = scaling.StandardScaler().fit(z)
                standard = scale.transform(z)
                model = linear.Ridge(alpha=1.0).fit(standard, y)
                _ = model.coef_ / scale.scale_, model.score(standard, y)
                np.linalg.cond(standard)

        yield "scikit-learn Ridge, StandardScaler", fit

    def portfolios(self, portfolios: int) -> None:
        """All statistics of portfolios."""
        head(
            f"all statistics of {portfolios} portfolios x {self.sessions} sessions "
            f"x {NAMES} names (CPU)"
        )
        every = np.arange(len(self.panel.values[0]))
        statistics = symbol_statistics(
            self.panel, self.last, every, FACTORS, self.places
        )
        held = self.holdings(portfolios)
        range_ = [replace(held, session=int(t)) for t in self.last]
        taken = seconds(
            lambda: list(portfolio_risk(self.panel, range_, statistics, FACTORS)), 1
        )
        self.say("a range of sessions", taken, portfolios * self.sessions)
        newest = {name: values[-1:] for name, values in statistics.items()}
        for many in (1, portfolios * NAMES // self.count, portfolios):
            some = replace(self.holdings(many), session=int(self.last[-1]))
            taken = seconds(
                lambda some=some: list(
                    portfolio_risk(self.panel, [some], newest, FACTORS)
                ),
                self.runs,
            )
            self.say(f"one session, {many} portfolios", taken, many)

    def holdings(self, portfolios: int) -> Holdings:
        """Seeded weights, one in five short."""
        rng = np.random.default_rng(3)
        chosen = [
            np.sort(rng.choice(self.columns[:500], NAMES, replace=False))
            for _ in range(portfolios)
        ]
        size = rng.integers(10_000, 100_000, portfolios * NAMES) * 10_000
        net = size * np.where(rng.random(len(size)) < 0.2, -1, 1)
        gross = size.reshape(portfolios, NAMES).sum(axis=1)
        return Holdings(
            session=0,
            nav=gross.copy(),
            gross=gross,
            held=np.ones(portfolios, bool),
            overflow=np.zeros(portfolios, bool),
            starts=np.arange(portfolios + 1) * NAMES,
            columns=np.concatenate(chosen),
            net=net,
            size=size,
        )


def quiet(work: Callable[[], object]) -> Callable[[], object]:
    """Do it as the kernels are called: without numpy's warnings."""

    def silent() -> None:
        with np.errstate(all="ignore"):
            work()

    return silent


def optional(name: str) -> ModuleType | None:
    """Import a module if it is installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def memory() -> None:
    """State what 10 000 symbols x 600 sessions take."""
    head("memory of 10 000 symbols x 600 sessions")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    panel = universe(10_000, 600)
    held = panel.values.nbytes + panel.present.nbytes
    cell = sum(np.dtype(kind).itemsize for kind in symbol_fields(FACTORS).values())
    places = {symbol: i for i, symbol in enumerate(FACTORS.symbols)}
    columns, sessions = np.arange(10_000), np.arange(599, 600)
    made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = process_time()
    symbol_statistics(panel, sessions, columns, FACTORS, places)
    taken = process_time() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"   returns held: {held / 1e6:.0f} MB (9 bytes a cell)")
    print(f"   statistics: {cell} bytes a cell; a session of all {cell / 100:.1f} MB")
    print(f"   one session of all: {taken:.2f} s of CPU")
    print(f"   peak RSS: {before / 1024:.0f} MiB before, {made / 1024:.0f} with the")
    print(f"   returns and their making, {after / 1024:.0f} after that session")


def main() -> None:
    """Ask all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=1200)
    parser.add_argument("--sessions", type=int, default=87)
    parser.add_argument("--portfolios", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of other libraries: they are only measured
    memory()
    bench = Bench(args.symbols, args.sessions, args.runs)
    bench.symbols()
    bench.portfolios(args.portfolios)
    bench.beside()


if __name__ == "__main__":
    main()
