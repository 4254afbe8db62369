"""Every statistic of portfolios, for the portfolios of some sessions.

Exposures are products of weights with the symbols' statistics; volatilities are of
the series that today's weights would have had; correlations are those of pairs,
computed once for all portfolios and sessions given.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from analytics.factors import Factors
from analytics.kernels import ols
from analytics.kernels.aggregate import (
    Holdings,
    beside,
    coverage_of,
    exposures,
    gathered,
    totals,
    used_columns,
    weighted_series,
)
from analytics.kernels.correlation import Matrices, Names, names_of
from analytics.kernels.pair_book import KeptPairs, PairBook
from analytics.kernels.reasons import Codes, Reason, first
from analytics.kernels.symbols import (
    Statistics,
    factor_keys,
    series_fields,
    series_statistics,
)
from analytics.kernels.volatility import annualised
from analytics.kernels.windows import (
    Block,
    Indices,
    Ints,
    Panel,
)

SESSIONS_AT_ONCE = 32
PAIRS_AT_ONCE = 10_000_000
"""Correlations of so many pairs times sessions are held at a time: 13 bytes each."""


@dataclass(frozen=True, slots=True)
class Risk:
    """Results of the portfolios of one session.

    Attributes
    ----------
    values
        The names of ``portfolio_fields``, arrays [portfolios].
    correlations
        One block for each number of names; a portfolio that is in none has no
        names (``correlation.nothing`` says why).
    """

    values: Statistics
    correlations: list[Matrices]


def portfolio_fields(factors: Factors) -> dict[str, DTypeLike]:
    """Names and types of ``Risk.values``.

    For each group of ``factor_keys`` an ``Exposure`` (a spread with ``tilt``), and
    the fields of ``series_fields`` with ``coverage`` and ``coverage_reason``.
    """
    found: dict[str, DTypeLike] = {}
    for key in factor_keys(factors):
        for name in ("value", "money", "coverage"):
            found[f"{key}.{name}"] = np.float64
        for name in ("reason", "money_reason", "coverage_reason"):
            found[f"{key}.{name}"] = np.uint8
        if key.startswith("spread."):
            found[f"{key}.tilt"] = np.int8
    found |= {"volatility.coverage": np.float64, "volatility.coverage_reason": np.uint8}
    return found | series_fields(factors)


def portfolio_risk(
    panel: Panel,
    holdings: Sequence[Holdings],
    statistics: Mapping[str, NDArray[Any]],
    factors: Factors,
    kept: KeptPairs | None = None,
) -> Iterator[Risk]:
    """Exposures, volatilities and correlations of portfolios.

    Parameters
    ----------
    panel
        Returns of all symbols.
    holdings
        By session, ascending.
    statistics
        What ``symbol_statistics`` says, arrays [len(holdings), symbols of the
        panel]; only the fields of ``factor_keys`` are read.
    factors
        What is computed.
    kept
        Pairs of a session that the caller keeps.

    Yields
    ------
    Risk
        For each of the holdings. Some 25 to 50 us a portfolio and session of 21 names.
    """
    names = [names_of(held, factors) for held in holdings]
    for start, stop in _chunks(names):
        part = holdings[start:stop]
        book = PairBook(panel, part, names[start:stop], factors, kept)
        loads = {
            name: statistics[name][start:stop].reshape(-1)
            for keys in factor_keys(factors).values()
            for name in keys
        }
        values = _values(panel, part, loads, factors)
        low = 0
        for i, held in enumerate(part):
            cells = slice(low, low := low + len(held.nav))
            mine = {name: array[cells] for name, array in values.items()}
            yield Risk(mine, book.matrices(i, held, names[start + i]))


def _chunks(names: Sequence[Sequence[Names]]) -> Iterator[tuple[int, int]]:
    """Sessions whose pairs are computed together: so many as memory allows."""
    start, pairs = 0, 0
    for i, groups in enumerate(names):
        pairs += sum(g.entries.shape[0] * g.entries.size for g in groups) // 2
        if i > start and (i - start == SESSIONS_AT_ONCE or pairs > PAIRS_AT_ONCE):
            yield start, i
            start, pairs = i, 0
    if len(names) > start:
        yield start, len(names)


@np.errstate(all="ignore")
def _values(
    panel: Panel,
    part: Sequence[Holdings],
    loads: Mapping[str, NDArray[Any]],
    factors: Factors,
) -> Statistics:
    """Values of the portfolios of some sessions, one session after the other."""
    held = beside(part, panel.values.shape[1])
    return _exposed(held, loads, factors) | _volatilities(panel, part, held, factors)


def _exposed(
    held: Holdings, row: Mapping[str, NDArray[Any]], factors: Factors
) -> Statistics:
    keys = factor_keys(factors)
    betas = [row[beta] for beta, _ in keys.values()]
    reasons = [row[reason] for _, reason in keys.values()]
    found: Statistics = {}
    for key, exposure in zip(keys, exposures(held, betas, reasons), strict=True):
        for field in fields(exposure):
            found[f"{key}.{field.name}"] = getattr(exposure, field.name)
        if key.startswith("spread."):
            tilt = ols.tilt(exposure.value, factors.moderate, factors.strong)
            found[f"{key}.tilt"] = tilt
    return found


def _volatilities(
    panel: Panel, part: Sequence[Holdings], held: Holdings, factors: Factors
) -> Statistics:
    """Statistics of the series of today's weights, and its coverage."""
    count = len(held.nav)
    found: Statistics = {
        name: np.zeros(count, kind) for name, kind in series_fields(factors).items()
    }
    for chosen, series in gathered(_all_series(panel, part, factors)):
        for name, values in series_statistics(series, factors):
            found[name][chosen] = values[0]
    weighed = totals(held.starts, np.abs(held.net))
    _overrule(found, _no_series(held, weighed))
    coverage, reason = coverage_of(held, weighed)
    return found | {
        "volatility.coverage": coverage,
        "volatility.coverage_reason": reason,
    }


def _all_series(
    panel: Panel, part: Sequence[Holdings], factors: Factors
) -> Iterator[tuple[Indices, Block]]:
    """Series of the portfolios of each session, by their places among all."""
    first = 0
    for held in part:
        used, place = used_columns(panel.values.shape[1], held.columns)
        block = panel.block(held.session, held.session + 1, factors.reach, used)
        places = place[held.columns]
        for chosen, series in weighted_series(held, block, places, factors.covered):
            yield first + chosen, series
        first += len(held.nav)


def _no_series(held: Holdings, weighed: Ints) -> Codes:
    """Why a portfolio has no series of today's weights."""
    return first(
        held.nav.shape,
        (Reason.OVERFLOW, held.overflow),
        (Reason.NO_POSITIONS, ~held.held),
        (Reason.NO_COVERAGE, weighed == 0),
        (Reason.NAV_NOT_POSITIVE, held.nav <= 0),
    )


def _overrule(found: Statistics, codes: Codes) -> None:
    """Make everything null that has a reason of the portfolio's own, in place."""
    null = codes != 0
    for name, values in found.items():
        if name.endswith("reason"):
            values[null] = codes[null]
        else:
            values[null] = np.nan if values.dtype == np.float64 else 0


@np.errstate(all="ignore")
def return_volatility(block: Block, factors: Factors) -> Statistics:
    """Volatilities of portfolios' own daily returns (``twr_volatility``).

    Parameters
    ----------
    block
        Daily returns of portfolios, the longest window up to the first session; 0.0
        and False where null or before the portfolio's first session.
    factors
        Windows.

    Returns
    -------
    dict
        ``volatility.W.value``, ``.n``, ``.reason`` for each window W, arrays
        [sessions, portfolios].
    """
    found: Statistics = {}
    for window in factors.volatility:
        result = annualised(block, window, factors.year)
        for field in fields(result):
            name = f"volatility.{window.sessions}.{field.name}"
            found[name] = getattr(result, field.name)
    return found
