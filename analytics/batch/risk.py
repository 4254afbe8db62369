"""Risk of a portfolio at a session, from its lots and its symbols' statistics.

Sections 5 to 9, as the fields of the published records ``risk`` and ``symbols``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from analytics.batch import content
from analytics.batch.content import Content
from analytics.batch.correlation import Block, Correlations
from analytics.batch.lots import Day
from analytics.batch.market import Market
from analytics.batch.portfolios import Outcome
from analytics.batch.returns import Returns, Series
from analytics.batch.rows import OPTIONS, Profile, Weight
from analytics.batch.sectors import Sectors
from analytics.batch.statistics import volatility
from analytics.batch.symbols import Symbols, combined
from analytics.calendar import Calendar
from analytics.factors import BASIS, Factors, Spread

UNIT = 10_000

Flags: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Standing:
    """A portfolio at a session: its lots with q ≠ 0, NAV and gross value.

    ``known`` is False in overflow: then every number made of values is null.
    """

    days: Sequence[Day]
    nav: int
    gross: int
    known: bool

    @property
    def covered(self) -> list[Day]:
        """PUBLIC lots that are neither options nor unpriced."""
        return [day for day in self.days if has_statistics(day) and priced(day)]

    @property
    def names(self) -> dict[str, int]:
        """Their values netted by symbol, in code-point order."""
        found: dict[str, int] = {}
        for day in self.covered:
            found[day.lot.symbol] = found.get(day.lot.symbol, 0) + day.market_value
        return {name: found[name] for name in sorted(found)}

    def why(self, *, covered: bool, by_nav: bool) -> str | None:
        """First reason for which a number is null, if one applies."""
        if not self.known:
            return "overflow"
        if not self.days:
            return "no_positions"
        if not covered:
            return "no_coverage"
        return "nav_not_positive" if by_nav and self.nav <= 0 else None

    def coverage(self, value: int) -> tuple[float | None, str | None]:
        """Share of gross value, or why there is none."""
        reason = self.why(covered=self.gross != 0, by_nav=False)
        return (None, reason) if reason else (value / self.gross, None)


def has_statistics(day: Day) -> bool:
    """Whether a lot's symbol has statistics: PUBLIC, no option, held."""
    lot = day.lot
    return lot.klass == "PUBLIC" and lot.type not in OPTIONS and day.quantity != 0


def priced(day: Day) -> bool:
    """Whether a lot is priced, if with a carried price."""
    return day.valuation is not None and day.valuation.status != "unpriced"


class Desk:
    """Everything that risk is made of."""

    def __init__(
        self,
        market: Market,
        profiles: Sequence[Profile],
        weights: Sequence[Weight],
        calendar: Calendar,
        factors: Factors,
    ) -> None:
        self.factors = factors
        self.returns = Returns(market)
        self.symbols = Symbols(self.returns, factors)
        self.correlations = Correlations(self.returns, factors)
        self.sectors = Sectors(profiles, weights, calendar)

    # --- symbols -----------------------------------------------------------------

    def symbol(self, symbol: str, session: int) -> Content:
        """Make the record of a symbol."""
        f, known = self.factors, self.symbols
        spreads = {}
        for spread in f.spreads:
            found = known.spread(symbol, spread, session)
            fields = content.regression(found, f.beta_cap)
            spreads[spread.key] = fields | {"tilt": content.tilt(found.beta, f)}
        betas = {
            name: content.regression(known.beta(symbol, factor, session), f.beta_cap)
            for name, factor in self._singles()
        }
        return {
            **betas,
            "ridge": content.styles(known.ridge(symbol, session), f),
            "spreads": spreads,
            **content.series(known.risk(symbol, session), f),
        }

    def _singles(self) -> list[tuple[str, str]]:
        f = self.factors
        return [("market", f.market), ("interest_rate", f.interest_rate)]

    # --- portfolios --------------------------------------------------------------

    def risk(
        self, standing: Standing, returns: Sequence[float | None], session: int
    ) -> Content:
        """Make the record of a portfolio; ``returns`` are its own from F on."""
        f = self.factors
        series, reason = self.series(standing, session)
        described = content.series(self.symbols.of_series(series), f, reason)
        size = sum(abs(value) for value in standing.names.values())
        coverage, coverage_reason = standing.coverage(size)
        windows = described.pop("volatility")
        return {
            **self._exposures(standing, session),
            "volatility": {
                "coverage": coverage,
                "coverage_reason": coverage_reason,
                **windows,
                **described,
            },
            "twr_volatility": self._own(returns),
            "correlation": self._correlation(standing, session),
            "sectors": self.sectors.blocks(standing.days, self._nav(standing), session),
        }

    def outcome(self, outcome: Outcome, returns: Sequence[float | None]) -> Content:
        """Make the record of a portfolio at the session of an outcome."""
        standing = Standing(
            [day for day in outcome.days if day.quantity],
            outcome.nav,
            outcome.gross,
            known=outcome.snapshot["nav"] is not None,
        )
        return self.risk(standing, returns, outcome.session)

    def _nav(self, standing: Standing) -> tuple[int, str | None]:
        """NAV, and why nothing can be weighed on it; nothing held weighs nothing."""
        if not standing.known:
            return standing.nav, "overflow"
        return standing.nav, "nav_not_positive" if standing.nav <= 0 else None

    def _exposures(self, standing: Standing, session: int) -> Content:
        """Exposure to every factor: betas, styles, spreads (with their tilt)."""
        f, known = self.factors, self.symbols

        def of_beta(factor: str) -> Callable[[str], float | None]:
            return lambda symbol: known.beta(symbol, factor, session).beta

        def of_style(name: str) -> Callable[[str], float | None]:
            return lambda symbol: known.ridge(symbol, session).loadings.get(name)

        def of_spread(spread: Spread) -> Callable[[str], float | None]:
            return lambda symbol: known.spread(symbol, spread, session).beta

        spreads = {}
        for spread in f.spreads:
            found = self.exposure(standing, spread.key, of_spread(spread))
            spreads[spread.key] = found | {"tilt": content.tilt(found["value"], f)}
        return {
            "betas": {
                name: self.exposure(standing, factor, of_beta(factor))
                for name, factor in self._singles()
            },
            "styles": {
                s.name: self.exposure(standing, s.symbol, of_style(s.name))
                for s in f.styles
            },
            "spreads": spreads,
        }

    def exposure(
        self, standing: Standing, factor: str, beta_of: Callable[[str], float | None]
    ) -> Content:
        """Add up the betas of the covered lots that have one (section 5)."""
        found = [
            (day.market_value, beta)
            for day in standing.covered
            if (beta := beta_of(day.lot.symbol)) is not None
        ]
        reason = standing.why(covered=bool(found), by_nav=True)
        money_reason = standing.why(covered=bool(found), by_nav=False)
        money = sum(value / UNIT * beta for value, beta in found)
        covered = sum(abs(value) for value, _ in found)
        coverage, coverage_reason = standing.coverage(covered)
        units = 0.0 if reason else sum(v / standing.nav * b for v, b in found)
        return {
            "factor": factor,
            "value": None if reason else units,
            "money": None if money_reason else money,
            "coverage": coverage,
            "reason": reason,
            "money_reason": money_reason,
            "coverage_reason": coverage_reason,
        }

    def series(self, standing: Standing, session: int) -> tuple[Series, str | None]:
        """Weigh returns with today's weights (section 7), or say why not."""
        names = standing.names
        sizes = [abs(value) for value in names.values()]
        total = sum(sizes)
        reason = standing.why(covered=total > 0, by_nav=True)
        length = self.symbols.reach
        if reason:
            return np.full(length, np.nan), reason
        columns = [self.returns.window(name, session, length) for name in names]
        present = np.isfinite(np.column_stack(columns))
        counts: Flags = np.asarray(present.all(axis=1))
        for row in np.flatnonzero(~counts):
            there = sum(size for size, p in zip(sizes, present[row], strict=True) if p)
            counts[row] = BASIS * there >= self.factors.covered * total
        weights = [value / standing.nav for value in names.values()]
        return combined(columns, weights, counts), None

    def _own(self, returns: Sequence[float | None]) -> Content:
        """Volatility of the portfolio's own daily returns, F up to today."""
        own = np.array([np.nan if r is None else r for r in returns], dtype=float)
        f = self.factors
        return {
            str(w.sessions): content.value(
                volatility(own[-w.sessions :], w.minimum, f.year)
            )
            for w in f.volatility
        }

    def _correlation(self, standing: Standing, session: int) -> Content:
        """Correlate the larger names (section 8)."""
        held = {day.lot.symbol for day in standing.days}
        names = standing.names if standing.known else {}
        block: Block = self.correlations.block(names, standing.gross, session)
        reason = None if block.names else standing.why(covered=False, by_nav=False)
        return block.content(reason, len(held))
