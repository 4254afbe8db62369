"""Every statistic of symbols, for a rectangle of sessions and symbols.

They depend on prices alone, so one computation serves every holder. The answer is
flat, a name to an array, so that a caller can keep, slice and compare cells without
knowing the kernels.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from analytics.factors import Factors
from analytics.kernels import ols, ridge
from analytics.kernels.har import forecast
from analytics.kernels.ridge_system import Rule as RidgeRule
from analytics.kernels.volatility import annualised, history, percentile, trend
from analytics.kernels.windows import Block, Indices, Ints, Panel

Statistics = dict[str, NDArray[np.generic]]

SESSIONS_AT_ONCE = 128
CELLS_AT_ONCE = 48_000
"""Elements of a tile: some five such arrays fit in a core's second-level cache."""

WIDEST_TILE = 256
FEW_COLUMNS = 8

_F8, _U1, _I1, _I4 = np.float64, np.uint8, np.int8, np.int32
_REGRESSION: Mapping[str, DTypeLike] = {
    **dict.fromkeys(("beta", "alpha", "r2", "se", "p"), _F8),
    "n": _I4,
    "clipped": np.bool_,
    "reason": _U1,
}
_SERIES: Mapping[str, DTypeLike] = {"value": _F8, "n": _I4, "reason": _U1}
_TREND: Mapping[str, DTypeLike] = {
    "slope": _F8,
    "strength": _F8,
    "direction": _I1,
    "reason": _U1,
    "strength_reason": _U1,
}


def series_fields(factors: Factors) -> dict[str, DTypeLike]:
    """Names and types of what ``series_statistics`` gives."""
    groups: dict[str, Mapping[str, DTypeLike]] = {
        **{f"volatility.{w.sessions}": _SERIES for w in factors.volatility},
        "har": _SERIES,
        "trend": _TREND,
        "percentile": _SERIES,
    }
    return _joined(groups)


def symbol_fields(factors: Factors) -> dict[str, DTypeLike]:
    """Names and types of what ``symbol_statistics`` gives.

    ``market.*``, ``interest_rate.*`` and ``spread.LONG-SHORT.*`` are a
    ``Regression`` (a spread with ``tilt``: 0 neutral, 1 moderate, 2 strong);
    ``ridge.*`` and ``ridge.SYMBOL.*`` are a ``Ridge``; then come the fields of
    ``series_fields``. A ``reason`` is a ``reasons.Reason``.
    """
    groups: dict[str, Mapping[str, DTypeLike]] = {
        "market": _REGRESSION,
        "interest_rate": _REGRESSION,
        "ridge": {
            "r2": _F8,
            "condition": _F8,
            "condition_reason": _U1,
            "n": _I4,
            "reason": _U1,
        },
    }
    for style in factors.styles:
        group = {"loading": _F8, "clipped": np.bool_, "reason": _U1}
        groups[f"ridge.{style.symbol}"] = group
    for spread in factors.spreads:
        groups[f"spread.{spread.key}"] = {**_REGRESSION, "tilt": _I1}
    return {**_joined(groups), **series_fields(factors)}


def factor_keys(factors: Factors) -> dict[str, tuple[str, str]]:
    """Each factor's group, with its beta and reason in ``symbol_fields``."""
    singles = ["market", "interest_rate", *(f"spread.{s.key}" for s in factors.spreads)]
    keys = {key: (f"{key}.beta", f"{key}.reason") for key in singles}
    for style in factors.styles:
        key = f"ridge.{style.symbol}"
        keys[key] = (f"{key}.loading", f"{key}.reason")
    return keys


def _joined(groups: Mapping[str, Mapping[str, DTypeLike]]) -> dict[str, DTypeLike]:
    return {
        f"{group}.{name}": kind
        for group, names in groups.items()
        for name, kind in names.items()
    }


@np.errstate(all="ignore")
def symbol_statistics(
    panel: Panel,
    sessions: Ints,
    columns: Indices,
    factors: Factors,
    places: Mapping[str, int],
    regressors: "RegressorsOf | None" = None,
) -> Statistics:
    """Betas, loadings, spreads and volatilities of some symbols in some sessions.

    Parameters
    ----------
    panel
        Returns of all symbols.
    sessions
        Ascending, without repetition; runs of neighbours share work.
    columns
        Columns of the panel.
    factors
        What is computed.
    places
        Columns of the panel by symbol; a factor that is not there has no prices.
    regressors
        Gives those of sessions ``start <= t < stop``, which a caller may keep.

    Returns
    -------
    dict
        The names of ``symbol_fields``, arrays [sessions, columns]. Doubles are NaN
        where the reason beside them is not 0. 1 200 symbols x 87 sessions take
        about half a second and 100 MB.

    Raises
    ------
    IndexError
        A session after the panel's last.
    """
    kinds = symbol_fields(factors)
    of = regressors or _made(panel, factors, places)
    return _rectangle(panel, sessions, columns, factors, of, kinds, _tile)


@np.errstate(all="ignore")
def symbol_betas(
    panel: Panel,
    sessions: Ints,
    columns: Indices,
    factors: Factors,
    places: Mapping[str, int],
    regressors: "RegressorsOf | None" = None,
) -> Statistics:
    """Compute what portfolios are aggregated from: the fields of ``factor_keys``.

    Parameters and bits as of ``symbol_statistics``, for a fraction of its cost.
    """
    kinds: dict[str, DTypeLike] = {}
    for beta, reason in factor_keys(factors).values():
        kinds |= {beta: _F8, reason: _U1}
    of = regressors or _made(panel, factors, places)
    return _rectangle(panel, sessions, columns, factors, of, kinds, _beta_tile)


Tile = Callable[
    [Block, "Regressors", Factors], Iterator[tuple[str, NDArray[np.generic]]]
]
RegressorsOf = Callable[[int, int], "Regressors"]


def _made(panel: Panel, factors: Factors, places: Mapping[str, int]) -> RegressorsOf:
    """Make the regressors of every run anew."""
    return lambda start, stop: Regressors(panel, start, stop, factors, places)


def _rectangle(
    panel: Panel,
    sessions: Ints,
    columns: Indices,
    factors: Factors,
    regressors_of: RegressorsOf,
    kinds: Mapping[str, DTypeLike],
    work: Tile,
) -> Statistics:
    """Compute a rectangle tile by tile."""
    shape = (len(sessions), len(columns))
    found: Statistics = {name: np.zeros(shape, kind) for name, kind in kinds.items()}
    for rows in _runs(sessions):
        start, stop = int(sessions[rows.start]), int(sessions[rows.stop - 1]) + 1
        regressors = regressors_of(start, stop)
        block = panel.block(start, stop, factors.reach, columns)
        for chosen in _tiles(block):
            tile = block.columns(chosen)
            for name, values in work(tile, regressors, factors):
                found[name][rows, chosen] = values
    return found


def _runs(sessions: Ints) -> Iterator[slice]:
    """Places of neighbouring sessions, so many at once."""
    breaks = np.flatnonzero(np.diff(sessions) != 1) + 1
    bounds = [0, *breaks.tolist(), len(sessions)]
    for low, high in pairwise(bounds):
        for start in range(low, high, SESSIONS_AT_ONCE):
            yield slice(start, min(start + SESSIONS_AT_ONCE, high))


def _tiles(block: Block) -> Iterator[Indices]:
    """Symbols that are computed together: those without gaps, then the others."""
    whole = block.present.all(axis=0)
    width = min(max(CELLS_AT_ONCE // len(block.values), 1), WIDEST_TILE)
    for chosen in (np.flatnonzero(whole), np.flatnonzero(~whole)):
        for start in range(0, len(chosen), width):
            yield chosen[start : start + width]


class Regressors:
    """Returns of the factors over the rows that some sessions depend on."""

    def __init__(
        self,
        panel: Panel,
        start: int,
        stop: int,
        factors: Factors,
        places: Mapping[str, int],
    ) -> None:
        held = [symbol for symbol in factors.symbols if symbol in places]
        columns = np.array([places[symbol] for symbol in held], np.intp)
        self._block = panel.block(start, stop, factors.reach, columns)
        self._order = {symbol: place for place, symbol in enumerate(held)}
        self.market = self.one(factors.market)
        self.interest_rate = self.one(factors.interest_rate)
        self.spreads = [self._spread(s.long, s.short) for s in factors.spreads]
        styles = [self.one(style.symbol) for style in factors.styles]
        self.styles = ridge.Styles(_beside(styles, self._block), ridge_rule(factors))

    def one(self, symbol: str) -> Block:
        """Give one symbol's returns, a column; none exist when it has no prices."""
        if symbol in self._order:
            return self._block.columns(np.array([self._order[symbol]], np.intp))
        return _nothing(self._block)

    def _spread(self, long: str, short: str) -> Block:
        first, second = self.one(long), self.one(short)
        both = first.present & second.present
        difference = np.where(both, first.values - second.values, 0.0)
        return Block(difference, both, first.sessions)


def _nothing(like: Block) -> Block:
    shape = (len(like.values), 1)
    return Block(np.zeros(shape), np.zeros(shape, bool), like.sessions)


def _beside(columns: list[Block], like: Block) -> Block:
    """Put columns beside one another; none is a block of no columns."""
    if not columns:
        return like.columns(slice(0, 0))
    return Block(
        np.concatenate([column.values for column in columns], axis=1),
        np.concatenate([column.present for column in columns], axis=1),
        like.sessions,
    )


def ridge_rule(factors: Factors) -> RidgeRule:
    """Take what the settings say of the ridge."""
    return RidgeRule(
        factors.ridge, factors.history, factors.ridge_alpha, factors.loading_cap
    )


def _rules(factors: Factors) -> tuple[ols.Rule, ols.Rule]:
    """Rules of the betas and of the spreads."""
    return (
        ols.Rule(factors.beta, factors.history, factors.beta_cap),
        ols.Rule(factors.spread, factors.spread.minimum, factors.beta_cap),
    )


def _tile(
    block: Block, regressors: Regressors, factors: Factors
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Statistics of one tile, by name."""
    target = ols.Target(block)
    single, double = _rules(factors)
    betas = {"market": regressors.market, "interest_rate": regressors.interest_rate}
    for name, found in _regressions(target, betas, single):
        yield f"{name}.{found[0]}", found[1]
    spreads = dict(
        zip((s.key for s in factors.spreads), regressors.spreads, strict=True)
    )
    for name, (field, values) in _regressions(target, spreads, double):
        yield f"spread.{name}.{field}", values
        if field == "beta":
            tilt = ols.tilt(values, factors.moderate, factors.strong)
            yield f"spread.{name}.tilt", tilt
    yield from _ridge(target, regressors.styles, factors)
    yield from series_statistics(block, factors)


def _beta_tile(
    block: Block, regressors: Regressors, factors: Factors
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Betas and loadings of one tile, with their reasons, by name."""
    target = ols.Target(block)
    single, double = _rules(factors)
    groups = [
        ("market", regressors.market, single),
        ("interest_rate", regressors.interest_rate, single),
    ]
    for spread, returns in zip(factors.spreads, regressors.spreads, strict=True):
        groups.append((f"spread.{spread.key}", returns, double))
    for name, returns, rule in groups:
        yield from zip(
            (f"{name}.beta", f"{name}.reason"),
            ols.slopes(target, returns, rule),
            strict=True,
        )
    found = ridge.ridge(target, regressors.styles)
    for place, style in enumerate(factors.styles):
        yield f"ridge.{style.symbol}.loading", found.loading[place]
        yield f"ridge.{style.symbol}.reason", found.loading_reason[place]


def _regressions(
    target: ols.Target, factors: Mapping[str, Block], rule: ols.Rule
) -> Iterator[tuple[str, tuple[str, Any]]]:
    """Regress on several factors: name, and each field of the result.

    Few symbols are laid out once for each factor, side by side: of few, calls cost
    more than numbers. The bits are the same.
    """
    columns = target.block.values.shape[1]
    if columns > FEW_COLUMNS or len(factors) < 2:
        for name, factor in factors.items():
            found = ols.regress(target, factor, rule)
            for field in fields(found):
                yield name, (field.name, getattr(found, field.name))
        return
    every = np.tile(np.arange(columns), len(factors))
    one_each = np.repeat(np.arange(len(factors)), columns)
    together = _beside(list(factors.values()), target.block).columns(one_each)
    found = ols.regress(ols.Target(target.block.columns(every)), together, rule)
    for place, name in enumerate(factors):
        mine = slice(place * columns, (place + 1) * columns)
        for field in fields(found):
            yield name, (field.name, getattr(found, field.name)[:, mine])


def _named(group: str, result: object) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Fields of a kernel's result under a group's name."""
    for field in fields(result):  # type: ignore[arg-type]  # a dataclass
        yield f"{group}.{field.name}", getattr(result, field.name)


def _ridge(
    target: ols.Target, styles: ridge.Styles, factors: Factors
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    found = ridge.ridge(target, styles)
    for name in ("r2", "condition", "condition_reason", "n", "reason"):
        yield f"ridge.{name}", getattr(found, name)
    for place, style in enumerate(factors.styles):
        yield f"ridge.{style.symbol}.loading", found.loading[place]
        yield f"ridge.{style.symbol}.clipped", found.clipped[place]
        yield f"ridge.{style.symbol}.reason", found.loading_reason[place]


def series_statistics(
    block: Block, factors: Factors
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Volatilities, forecast, trend and percentile of series of returns.

    Parameters
    ----------
    block
        ``factors.reach`` rows up to the first session.

    Yields
    ------
    tuple
        A name of ``series_fields`` and an array [sessions, series].
    """
    for window in factors.volatility:
        found = annualised(block, window, factors.year)
        yield from _named(f"volatility.{window.sessions}", found)
    yield from _named("har", forecast(block, factors))
    shortest = factors.volatility[0]
    ranked = max(factors.trend.sessions, factors.percentile.sessions)
    rows = block.over(shortest.sessions + ranked - 1)
    values = history(rows, shortest, factors.year, ranked)
    found_trend = trend(values, factors.trend, factors.trend_slope, factors.trend_r2)
    yield from _named("trend", found_trend)
    yield from _named("percentile", percentile(values, factors.percentile))
