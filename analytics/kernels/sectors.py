"""Sectors: their weights on NAV, and against benchmarks (section 9).

Weights are by lot, options by their underlying, unpriced lots included. Money is
added in integers; benchmark weights are doubles and are added exactly and rounded
once (``math.fsum``), so the order of rows changes nothing.

Source of the names: MSCI and S&P, Global Industry Classification Standard.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np

from analytics.kernels.reasons import Codes, Reason, first, nulled
from analytics.kernels.windows import Bools, Floats, Indices, Ints
from analytics.rows import Weight

ETFS = "ETFs"
UNCLASSIFIED = "Unclassified"
RENAMED: Mapping[str, str] = {
    "Technology": "Information Technology",
    "Healthcare": "Health Care",
    "Financial Services": "Financials",
    "Consumer Cyclical": "Consumer Discretionary",
    "Consumer Defensive": "Consumer Staples",
    "Basic Materials": "Materials",
}
LEAST_TOTAL, LARGEST_TOTAL = 0.95, 1.05


def sector_of(sector: str | None, *, is_etf: bool) -> str:
    """Sector of a profile; a symbol without a profile is ``UNCLASSIFIED``.

    Examples
    --------
    >>> sector_of("Healthcare", is_etf=False), sector_of("Energy", is_etf=True)
    ('Health Care', 'ETFs')
    """
    if is_etf:
        return ETFS
    return RENAMED.get(sector, sector) if sector else UNCLASSIFIED


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The set of weights of one benchmark that counts in a session.

    Attributes
    ----------
    code
        Its name.
    date
        Ordinal of its date; None when there is no set yet (``no_benchmark``).
    weights
        By sector, names as ours.
    off
        The weights' sum is outside 0.95..1.05.
    """

    code: str
    date: int | None
    weights: Mapping[str, float]
    off: bool


def benchmarks_at(rows: Iterable[Weight], day: int) -> list[Benchmark]:
    """Newest set of each benchmark that is dated on or before a day.

    Parameters
    ----------
    rows
        All rows, in any order.
    day
        Ordinal.

    Returns
    -------
    list of Benchmark
        By code, in code-point order.
    """
    sets: dict[str, dict[int, list[Weight]]] = {}
    for row in rows:
        sets.setdefault(row.benchmark, {}).setdefault(row.date, []).append(row)
    found = []
    for code in sorted(sets):
        dates = [date for date in sets[code] if date <= day]
        newest = max(dates, default=None)
        chosen = sets[code][newest] if newest is not None else []
        found.append(_benchmark(code, newest, chosen))
    return found


def _benchmark(code: str, date: int | None, rows: Sequence[Weight]) -> Benchmark:
    by_sector: dict[str, list[float]] = {}
    for row in rows:
        name = sector_of(row.sector, is_etf=False)
        by_sector.setdefault(name, []).append(row.weight)
    total = fsum(row.weight for row in rows)
    return Benchmark(
        code=code,
        date=date,
        weights={name: fsum(by_sector[name]) for name in sorted(by_sector)},
        off=bool(rows) and not LEAST_TOTAL <= total <= LARGEST_TOTAL,
    )


@dataclass(frozen=True, slots=True)
class SectorWeights:
    """Weights of sectors on NAV, [portfolios, sectors].

    Attributes
    ----------
    long, short, net
        Fractions; short is negative, net their sum formed in integers.
    held
        A lot of the sector with q ≠ 0 exists; else the sector is listed only when
        a benchmark has it.
    reason
        [portfolios]: ``overflow``, ``nav_not_positive``; weights are NaN there.
    """

    long: Floats
    short: Floats
    net: Floats
    held: Bools
    reason: Codes


def sector_weights(
    owner: Indices,
    sector: Indices,
    value: Ints,
    nav: Ints,
    overflow: Bools,
    sectors: int,
) -> SectorWeights:
    """Weights of sectors in the portfolios of a session.

    Parameters
    ----------
    owner, sector, value
        Of each lot with q ≠ 0: its portfolio, its sector (0 ≤ sector < sectors) and
        its market value in 1e-4.
    nav, overflow
        [portfolios].
    sectors
        How many there are.
    """
    shape = (len(nav), sectors)
    long, short = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    held = np.zeros(shape, bool)
    # Integers: the order of the additions is free.
    np.add.at(long, (owner, sector), np.maximum(value, 0))
    np.add.at(short, (owner, sector), np.minimum(value, 0))
    held[owner, sector] = True
    reason = first(
        nav.shape, (Reason.OVERFLOW, overflow), (Reason.NAV_NOT_POSITIVE, nav <= 0)
    )
    codes = np.broadcast_to(reason[:, None], shape)
    on = np.where(nav > 0, nav, 1)[:, None]
    return SectorWeights(
        long=nulled(long / on, codes),
        short=nulled(short / on, codes),
        net=nulled((long + short) / on, codes),
        held=held,
        reason=reason,
    )


def active_weights(
    weights: SectorWeights, benchmark: Benchmark, names: Sequence[str]
) -> tuple[Floats, Codes]:
    """Net weights less a benchmark's, over all sectors; a missing weight is 0.

    Parameters
    ----------
    weights
        Of the portfolios.
    benchmark
        One of ``benchmarks_at``.
    names
        Names of the sectors, in the order of their numbers; the benchmark's are
        among them.

    Returns
    -------
    active, reason
        [portfolios, sectors] and [portfolios]; ``no_benchmark`` without a set.
    """
    reason = np.where(
        (weights.reason == 0) & (benchmark.date is None),
        np.uint8(Reason.NO_BENCHMARK),
        weights.reason,
    )
    theirs = np.array([benchmark.weights.get(name, 0.0) for name in names])
    codes = np.broadcast_to(reason[:, None], weights.net.shape)
    return nulled(weights.net - theirs, codes), reason
