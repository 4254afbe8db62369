"""Sector blocks of portfolios as text of their records (section 9)."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise

import numpy as np

from analytics.book import Book
from analytics.contents import words
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
from analytics.money import Bools, Floats, Indices
from analytics.records import encode
from analytics.standing import Standing
from analytics.texts import Parts, cut, joined, lists, objects

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

    def spans(self, standing: Standing, runs: Sequence[slice]) -> Iterator[list[bytes]]:
        """Blocks of the cells of sessions that have the same sets of weights."""
        days = self._market.calendar.days
        at = [days[int(standing.session[run.start])] for run in runs]
        # Between two dates of sets nothing changes.
        dates = sorted({row.date for row in self._weights})
        pieces = [bisect_right(dates, day) for day in at]
        bounds = np.flatnonzero(np.diff(pieces, prepend=-1, append=-1))
        for first, after in pairwise(bounds.tolist()):
            yield self._blocks(
                standing, slice(runs[first].start, runs[after - 1].stop), at[first]
            )

    def _blocks(self, standing: Standing, run: slice, day: int) -> list[bytes]:
        """Blocks of some cells: a list, one a benchmark."""
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
        benchmarks = benchmarks_at(self._weights, day) or [NO_BENCHMARK]
        parts: Parts = [b"["]
        for place, benchmark in enumerate(benchmarks):
            parts += (*([b","] if place else []), *self._block(weights, benchmark))
        return joined([*parts, b"]"], run.stop - run.start)

    def _block(self, weights: SectorWeights, benchmark: Benchmark) -> Parts:
        active, active_reason = active_weights(weights, benchmark, self.names)
        theirs = np.array([name in benchmark.weights for name in self.names])
        shown = weights.held | theirs
        bounds = np.concatenate([[0], np.cumsum(shown.sum(axis=1))])
        when = benchmark.date
        return objects(
            {
                "benchmark": [encode(benchmark.code or None)],
                "date": [
                    encode(None if when is None else date.fromordinal(when).isoformat())
                ],
                "benchmark_flagged": [encode(benchmark.off)],
                "sectors": [self._sectors(shown)],
                "long": _shown(weights.long, shown, bounds),
                "short": _shown(weights.short, shown, bounds),
                "net": _shown(weights.net, shown, bounds),
                "active": _shown(active, shown, bounds),
                "reason": words(weights.reason),
                "active_reason": words(active_reason),
            }
        )

    def _sectors(self, shown: Bools) -> list[bytes]:
        """Names of the sectors that each portfolio shows."""
        made: dict[bytes, bytes] = {}
        found = []
        for key, mask in zip(np.packbits(shown, axis=1), shown, strict=True):
            bits = key.tobytes()
            if bits not in made:
                made[bits] = encode([self.names[at] for at in np.flatnonzero(mask)])
            found.append(made[bits])
        return found


def _shown(values: Floats, shown: Bools, bounds: Indices) -> Parts:
    """Weights that each portfolio shows; NaN, where there is a reason, is null."""
    return lists(cut(values[shown], bounds))
