"""Sector weights of a portfolio, and beside them those of benchmarks (section 9)."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date as Date
from typing import Any

from analytics.batch.content import near
from analytics.batch.lots import Day
from analytics.batch.rows import OPTIONS, Lot, Profile, Weight
from analytics.batch.unsure import Unsure
from analytics.calendar import Calendar

LEAST, MOST = 0.95, 1.05
RENAMED = {
    "Technology": "Information Technology",
    "Healthcare": "Health Care",
    "Financial Services": "Financials",
    "Consumer Cyclical": "Consumer Discretionary",
    "Consumer Defensive": "Consumer Staples",
    "Basic Materials": "Materials",
}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The newest set of a benchmark: weights by sector (None: no set yet)."""

    code: str | None
    date: str | None
    weights: dict[str, float] | None
    flagged: Any


def named(sector: str | None) -> str:
    """Name of a sector as it is published."""
    return RENAMED.get(sector, sector) if sector else "Unclassified"


class Sectors:
    """Profiles and benchmark sets."""

    def __init__(
        self, profiles: Iterable[Profile], weights: Iterable[Weight], calendar: Calendar
    ) -> None:
        self._profiles = {row.symbol: row for row in profiles}
        self._weights = sorted(weights, key=lambda row: row.id)
        self._calendar = calendar

    def of(self, lot: Lot) -> str:
        """Sector of a lot: of an option, that of its underlying."""
        symbol = lot.underlying if lot.type in OPTIONS else lot.symbol
        profile = self._profiles.get(symbol or "")
        if profile is None:
            return "Unclassified"
        if profile.is_etf:
            return "ETFs"
        return named(profile.sector)

    def benchmarks(self, session: int) -> list[Benchmark]:
        """Every benchmark, by code, at a session."""
        today = self._calendar.days[session]
        found = []
        for code in sorted({row.benchmark for row in self._weights}):
            rows = [row for row in self._weights if row.benchmark == code]
            newest = max((row.day for row in rows if row.day <= today), default=None)
            if newest is None:
                found.append(Benchmark(code, None, None, flagged=False))
                continue
            weights: dict[str, float] = defaultdict(float)
            for row in rows:
                if row.day == newest:
                    weights[named(row.sector)] += row.weight
            total = sum(weights.values())
            flagged: Any = not LEAST <= total <= MOST
            if near(total, LEAST) or near(total, MOST):
                flagged = Unsure(flagged)
            date = Date.fromordinal(newest).isoformat()
            found.append(Benchmark(code, date, dict(weights), flagged))
        return found

    def blocks(
        self, days: Iterable[Day], nav: tuple[int, str | None], session: int
    ) -> list[dict[str, Any]]:
        """Weigh sectors on NAV (or say why not), a block a benchmark."""
        long: dict[str, int] = defaultdict(int)
        short: dict[str, int] = defaultdict(int)
        for day in days:
            side = long if day.lot.sign > 0 else short
            side[self.of(day.lot)] += day.market_value
        ours = set(long) | set(short)
        total, reason = nav
        blocks = []
        for benchmark in self.benchmarks(session) or [NO_BENCHMARK]:
            theirs = benchmark.weights or {}
            sectors = sorted(ours | set(theirs))

            def shares(of: Callable[[str], int]) -> list[float | None]:
                return [None if reason else of(s) / total for s in sectors]  # noqa: B023

            net = shares(lambda s: long[s] + short[s])
            active_reason = reason
            if benchmark.weights is None:
                active_reason = reason or "no_benchmark"
            active = [
                None if active_reason or n is None else n - theirs.get(s, 0.0)
                for s, n in zip(sectors, net, strict=True)
            ]
            blocks.append(
                {
                    "benchmark": benchmark.code,
                    "date": benchmark.date,
                    "benchmark_flagged": benchmark.flagged,
                    "sectors": sectors,
                    "long": shares(lambda s: long[s]),
                    "short": shares(lambda s: short[s]),
                    "net": net,
                    "active": active,
                    "reason": reason,
                    "active_reason": active_reason,
                }
            )
        return blocks


NO_BENCHMARK = Benchmark(None, None, None, flagged=False)
