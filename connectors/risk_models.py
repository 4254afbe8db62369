"""The published risk of portfolios and statistics of symbols, field by field.

As in ``connectors.models``: a number that is null has its reason beside it, and a
reason is null where the number exists.
"""

from __future__ import annotations

from datetime import date
from typing import Literal, TypeAlias

from pydantic import ConfigDict, Field

from connectors.record_models import (
    Head,
    Model,
    Reason,
    Status,
    SymbolHead,
)

Tilt: TypeAlias = Literal["strong", "moderate", "neutral"]
Direction: TypeAlias = Literal["increasing", "decreasing", "stable"]


# --- statistics -------------------------------------------------------------------


class RegressionModel(Model):
    """Least squares with intercept of a symbol's returns on a factor's."""

    beta: float | None
    """Slope, clipped to the cap of the settings (±5)."""
    alpha: float | None
    """Intercept, a session."""
    r2: float | None
    """Share of variance explained."""
    se: float | None
    """Standard error of the unclipped slope."""
    p: float | None
    """Two-sided p-value of the slope (Student t, n - 2)."""
    n: int
    """Sessions in which both have a return."""
    clipped: bool
    """Whether the slope was beyond the cap."""
    reason: Reason | None
    """Why all of it is null."""


class SpreadModel(RegressionModel):
    """Regression on the return of one symbol less that of another."""

    tilt: Tilt | None
    """How strong: ``strong`` above 0.5, ``moderate`` above 0.2 (settings)."""


class LoadingModel(Model):
    """Loading on one style."""

    symbol: str
    """Symbol that stands for the style."""
    loading: float | None
    """Per unit of the style's return, clipped to the cap of the settings (±5)."""
    clipped: bool
    """Whether it was beyond the cap."""
    reason: Reason | None
    """Why it is null."""


class RidgeModel(Model):
    """Ridge regression on all styles at once."""

    r2: float | None
    """Share of variance explained in the sample, before clipping."""
    condition: float | None
    """Condition number of the standardised styles."""
    condition_reason: Reason | None
    """Why ``condition`` is null (``collinear``: it is not finite)."""
    n: int
    """Sessions in which the symbol and every present style have a return."""
    reason: Reason | None
    """Why all of it is null."""
    loadings: dict[str, LoadingModel]
    """By name of the style."""


class ValueModel(Model):
    """A number made of several returns."""

    value: float | None
    """The number; volatilities are annualised (√252)."""
    n: int
    """Of how many."""
    reason: Reason | None
    """Why it is null."""


class TrendModel(Model):
    """Trend of the shortest volatility."""

    slope: float | None
    """Change a session."""
    strength: float | None
    """R² of the trend."""
    direction: Direction | None
    """``stable`` unless steep and strong enough (settings)."""
    reason: Reason | None
    """Why all of it is null."""
    strength_reason: Reason | None
    """Why ``strength`` is null (``constant``: the values are equal)."""


# --- symbols ----------------------------------------------------------------------


class SymbolStatistics(SymbolHead):
    """Statistics of a symbol's returns up to a session, shared by all its holders.

    They exist from its first price to the newest session of all, in the newest 252
    sessions (setting ``symbol_sessions``). They are those of every lot of the symbol
    that is held, PUBLIC and no option.
    """

    market: RegressionModel
    """On the market's returns."""
    interest_rate: RegressionModel
    """On the returns of long bonds."""
    ridge: RidgeModel
    """On the styles."""
    spreads: dict[str, SpreadModel]
    """On each spread, by its key ``LONG-SHORT``."""
    volatility: dict[str, ValueModel]
    """By the window's sessions."""
    har: ValueModel
    """Volatility forecast of the next 21 sessions (Corsi 2009); n is rows fitted."""
    trend: TrendModel
    """Of the shortest window's volatility."""
    percentile: ValueModel
    """Rank of today's among the values of the shortest window's volatility, 0..100."""


# --- portfolios -------------------------------------------------------------------


class ExposureModel(Model):
    """Exposure of a portfolio to a factor, over the lots that have a beta."""

    factor: str
    """Symbol of the factor, or key of the spread."""
    value: float | None
    """Σ MV/NAV · beta."""
    money: float | None
    """Σ MV · beta, in the portfolio's currency."""
    coverage: float | None
    """Σ|MV| of these lots / gross value."""
    reason: Reason | None
    """Why ``value`` is null."""
    money_reason: Reason | None
    """Why ``money`` is null."""
    coverage_reason: Reason | None
    """Why ``coverage`` is null."""


class SpreadExposureModel(ExposureModel):
    """Exposure to a spread."""

    tilt: Tilt | None
    """How strong ``value`` is."""


class BetasModel(Model):
    """Exposures to the two single factors."""

    market: ExposureModel
    """To the market."""
    interest_rate: ExposureModel
    """To long bonds' returns."""


class CorrelationModel(Model):
    """Correlations of the larger names: PUBLIC, no options, netted, priced."""

    names: list[str]
    """Symbols, in the order of their code points."""
    rho: list[float | None]
    """Upper triangle, row by row; as used, after a repair."""
    n: list[int]
    """Sessions in which both have a return, by pair."""
    pair_reasons: list[Reason | None]
    """Why a pair is null; empty when all exist."""
    mean: float | None
    """Mean of the pairs that have a value."""
    weighted_mean: float | None
    """The same, weighted with the product of both weights."""
    mean_reason: Reason | None
    """Why both means are null."""
    effective_number: float | None
    """1/(wᵀCw), w = |MV|/Σ|MV| of the names."""
    effective_reason: Reason | None
    """Why it is null."""
    included: int
    """Number of names."""
    excluded: int
    """Number of other symbols that are held."""
    null_pairs: int
    """Pairs without a value."""
    repaired: bool
    """Whether the matrix was replaced by the nearest correlation matrix."""
    incomplete: bool
    """Whether a pair has no value (then nothing is repaired)."""
    clusters: list[list[str]]
    """Names joined by |rho| at or above the threshold of the settings (0.7)."""
    reason: Reason | None
    """Why there are no names."""


class SectorsModel(Model):
    """Weights by sector on NAV, beside one benchmark: arrays of one length."""

    benchmark: str | None
    """Code of the benchmark. Null in the only block of a world without any."""
    date: date | None
    """Date of its newest set at or before the session."""
    benchmark_flagged: bool
    """Whether that set does not sum to 0.95..1.05."""
    sectors: list[str]
    """Sectors of the portfolio and of the set, in order."""
    long: list[float | None]
    """Σ MV/NAV of long lots."""
    short: list[float | None]
    """Σ MV/NAV of short lots; ≤ 0."""
    net: list[float | None]
    """long + short."""
    active: list[float | None]
    """net - weight in the benchmark."""
    reason: Reason | None
    """Why weights are null."""
    active_reason: Reason | None
    """Why active weights are null (``no_benchmark``: no set yet)."""


class PortfolioVolatilityModel(Model):
    """Volatility of the series that today's weights would have had.

    Beside the fields named here it has one for each window, by its sessions.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, ValueModel] = Field(init=False)

    coverage: float | None
    """Σ|MV| of the names / gross value."""
    coverage_reason: Reason | None
    """Why it is null."""
    har: ValueModel
    """Forecast of the next 21 sessions (Corsi 2009); n is rows fitted."""
    trend: TrendModel
    """Of the shortest window's volatility."""
    percentile: ValueModel
    """Rank of today's among the values of the shortest window's volatility, 0..100."""


class Risk(Head):
    """What a portfolio is exposed to in a session, and how much it moves."""

    status: Status
    """As in the snapshot."""
    betas: BetasModel
    """Exposures to market and bonds."""
    styles: dict[str, ExposureModel]
    """Exposures to the styles, by name, of the ridge's loadings."""
    spreads: dict[str, SpreadExposureModel]
    """Exposures to the spreads, by key ``LONG-SHORT``."""
    volatility: PortfolioVolatilityModel
    """Of the series of returns that today's weights would have had."""
    twr_volatility: dict[str, ValueModel]
    """Of the portfolio's own daily returns, by the window's sessions."""
    correlation: CorrelationModel
    """Among its larger names."""
    sectors: list[SectorsModel]
    """A block for each benchmark, or one of weights alone."""
