"""Statistics of a symbol at a session (sections 5 to 7), each computed once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from analytics.batch import statistics
from analytics.batch.returns import Returns, Series, tail
from analytics.batch.squares import unbounded
from analytics.factors import Factors, Spread

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Risk:
    """The statistics of a series of returns: a symbol's, or a portfolio's."""

    volatility: dict[int, statistics.Value]
    har: statistics.Value
    trend: statistics.Trend
    percentile: statistics.Value


@dataclass
class Symbols:
    """Regressions and volatilities of symbols, kept by symbol and session."""

    returns: Returns
    factors: Factors
    _kept: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def _once(self, key: tuple[Any, ...], make: Callable[[], Found]) -> Found:
        if key not in self._kept:
            self._kept[key] = make()
        found: Found = self._kept[key]
        return found

    def beta(self, symbol: str, factor: str, session: int) -> statistics.Fit:
        """Regress on one factor (section 5)."""
        rule = self.factors.beta

        def make() -> statistics.Fit:
            return statistics.fit(
                self.returns.window(symbol, session, rule.sessions),
                self.returns.window(factor, session, rule.sessions),
                minimum=rule.minimum,
                history=self.factors.history,
                cap=self.factors.beta_cap,
            )

        return self._once(("beta", symbol, factor, session), make)

    def spread(self, symbol: str, spread: Spread, session: int) -> statistics.Fit:
        """Regress on the return of one symbol less that of another (section 6)."""
        rule = self.factors.spread

        def make() -> statistics.Fit:
            long, short = (
                self.returns.window(leg, session, rule.sessions)
                for leg in (spread.long, spread.short)
            )
            return statistics.fit(
                self.returns.window(symbol, session, rule.sessions),
                long - short,
                minimum=rule.minimum,
                history=rule.minimum,
                cap=self.factors.beta_cap,
            )

        return self._once(("spread", symbol, spread.key, session), make)

    def ridge(self, symbol: str, session: int) -> statistics.Ridge:
        """Regress on the styles (section 6); loadings by the style's name."""
        f, rule = self.factors, self.factors.ridge

        def make() -> statistics.Ridge:
            styles = {
                style.name: self.returns.window(style.symbol, session, rule.sessions)
                for style in f.styles
            }
            return statistics.ridge(
                self.returns.window(symbol, session, rule.sessions),
                styles,
                minimum=rule.minimum,
                history=f.history,
                alpha=f.ridge_alpha,
                cap=f.loading_cap,
            )

        return self._once(("ridge", symbol, session), make)

    def risk(self, symbol: str, session: int) -> Risk:
        """Volatilities, HAR, trend and percentile (section 7)."""

        def make() -> Risk:
            return self.of_series(self.returns.window(symbol, session, self.reach))

        return self._once(("risk", symbol, session), make)

    @cached_property
    def reach(self) -> int:
        """Returns up to a session that section 7 needs."""
        f = self.factors
        ranked = f.volatility[0].sessions - 1
        windows = [window.sessions for window in f.volatility]
        longest = max(f.trend.sessions, f.percentile.sessions)
        return max(*windows, f.har_window, ranked + longest)

    def of_series(self, series: Series) -> Risk:
        """Describe a series of ``reach`` returns up to a session."""
        f, first = self.factors, self.factors.volatility[0]
        values = statistics.volatilities(series, first.sessions, first.minimum, f.year)
        rule = statistics.HarRule(
            f.har_week, f.har_month, f.har_horizon, f.har_minimum, f.year
        )
        return Risk(
            volatility={
                w.sessions: statistics.volatility(
                    series[-w.sessions :], w.minimum, f.year
                )
                for w in f.volatility
            },
            har=statistics.har(series[-f.har_window :], rule),
            trend=statistics.trend(
                tail(values, len(values), f.trend.sessions),
                f.trend.minimum,
                f.trend_slope,
                f.trend_r2,
            ),
            percentile=statistics.percentile(
                tail(values, len(values), f.percentile.sessions), f.percentile.minimum
            ),
        )


@unbounded
def combined(
    values: list[Series], weights: list[float], counts: NDArray[np.bool_]
) -> Series:
    """Weigh returns with today's weights; NaN where ``counts`` is False.

    What is no double, or the difference of two that are none, is infinite.
    """
    series = np.zeros(len(counts))
    for column, weight in zip(values, weights, strict=True):
        series += weight * np.nan_to_num(column, nan=0.0)
    return np.where(counts, np.where(np.isfinite(series), series, np.inf), np.nan)
