"""Sector blocks of portfolios as fields of their records (section 9)."""

from collections.abc import Sequence
from datetime import date

import numpy as np

from analytics.book import Book
from analytics.contents import Content, words
from analytics.kernels.sectors import (
    UNCLASSIFIED,
    Benchmark,
    SectorWeights,
    active_weights,
    benchmarks_at,
    sector_of,
    sector_weights,
)
from analytics.market import Market
from analytics.money import Floats, Indices
from analytics.standing import Standing

NO_BENCHMARK = Benchmark("", None, {}, off=False)


class Sectoring:
    """Profiles and benchmark weights as they are when it is made."""

    def __init__(self, book: Book, market: Market) -> None:
        self._book = book
        self._market = market
        self._weights = [row for _, row in market.weights.values() if row is not None]
        profiles = {key: row for key, (_, row) in market.profiles.items() if row}
        of = {
            symbol: sector_of(row.sector, is_etf=row.is_etf)
            for symbol, row in profiles.items()
        }
        names = [of.get(symbol, UNCLASSIFIED) for symbol in market.symbols]
        theirs = [sector_of(row.sector, is_etf=False) for row in self._weights]
        self.names = sorted({UNCLASSIFIED, *names, *theirs})
        number = {name: place for place, name in enumerate(self.names)}
        self._of: Indices = np.array([number[name] for name in names], dtype=np.intp)

    def blocks(self, standing: Standing, run: slice) -> list[list[Content]]:
        """Blocks of the cells of one session, one a benchmark."""
        rows = standing.rows
        low, high = int(rows.starts[run.start]), int(rows.starts[run.stop])
        held = np.flatnonzero(rows.quantity[low:high]) + low
        sector = self._of[self._book.lots["sector"][rows.lot[held]]]
        weights = sector_weights(
            rows.cell[held] - run.start,
            sector,
            rows.value[held],
            standing.nav[run],
            standing.overflow[run],
            len(self.names),
        )
        day = self._market.calendar.days[int(standing.session[run.start])]
        benchmarks = benchmarks_at(self._weights, day) or [NO_BENCHMARK]
        found = [self._block(weights, benchmark) for benchmark in benchmarks]
        return [list(blocks) for blocks in zip(*found, strict=True)]

    def _block(self, weights: SectorWeights, benchmark: Benchmark) -> list[Content]:
        active, active_reason = active_weights(weights, benchmark, self.names)
        theirs = np.array([name in benchmark.weights for name in self.names])
        shown = weights.held | theirs
        when = benchmark.date
        head = {
            "benchmark": benchmark.code or None,
            "date": None if when is None else date.fromordinal(when).isoformat(),
            "benchmark_flagged": benchmark.off,
        }
        reasons, active_reasons = words(weights.reason), words(active_reason)
        return [
            {
                **head,
                "sectors": [self.names[at] for at in places],
                **{
                    name: _cells(values[row], places, reason)
                    for name, values, reason in (
                        ("long", weights.long, reasons[row]),
                        ("short", weights.short, reasons[row]),
                        ("net", weights.net, reasons[row]),
                        ("active", active, active_reasons[row]),
                    )
                },
                "reason": reasons[row],
                "active_reason": active_reasons[row],
            }
            for row, places in enumerate(
                np.flatnonzero(mask).tolist() for mask in shown
            )
        ]


def _cells(values: Floats, places: Sequence[int], reason: str | None) -> list[object]:
    if reason is not None:
        return [None] * len(places)
    row = values.tolist()
    return [row[place] for place in places]
