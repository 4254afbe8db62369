"""Statistics as the fields of published records.

A null number has its reason beside it. ``Unsure`` stands where a threshold is so
near that rounding decides: such a cell is not compared (section 10.4).
"""

from typing import Any, TypeAlias

from analytics.batch.statistics import Fit, Ridge, Trend, Value
from analytics.batch.symbols import Risk
from analytics.batch.unsure import Unsure
from analytics.factors import Factors

Content: TypeAlias = dict[str, Any]

NEAR = 1e-9
EXACT_FIT = 1e-12
FLAT = 1e-6


def near(a: float, b: float) -> bool:
    """Whether a number is within tolerance of a threshold."""
    return abs(a - b) <= NEAR * max(abs(a), abs(b))


def tilt(beta: float | None, factors: Factors) -> Any:
    """How strongly a spread pulls."""
    if beta is None:
        return None
    size = abs(beta)
    word = "strong" if size > factors.strong else "neutral"
    if factors.moderate < size <= factors.strong:
        word = "moderate"
    doubtful = near(size, factors.strong) or near(size, factors.moderate)
    return Unsure(word) if doubtful else word


def clipped(free: float | None, cap: float) -> Any:
    """Whether a beta or loading is beyond its cap."""
    if free is None:
        return False
    return Unsure(abs(free) > cap) if near(abs(free), cap) else abs(free) > cap


def regression(fit: Fit, cap: float) -> Content:
    """Fields of a regression on one factor."""
    exact = fit.r2 is not None and 1 - fit.r2 < EXACT_FIT
    return {
        "beta": fit.beta,
        "alpha": fit.alpha,
        "r2": fit.r2,
        "se": Unsure(fit.se) if exact else fit.se,
        "p": Unsure(fit.p) if exact else fit.p,
        "n": fit.n,
        "clipped": clipped(fit.unclipped, cap),
        "reason": fit.reason,
    }


def styles(ridge: Ridge, factors: Factors) -> Content:
    """Fields of the regression on the styles."""
    loadings = {}
    for style in factors.styles:
        absent = style.name not in ridge.present
        free = ridge.unclipped.get(style.name)
        loadings[style.name] = {
            "symbol": style.symbol,
            "loading": ridge.loadings.get(style.name),
            "clipped": clipped(free, factors.loading_cap),
            "reason": "no_factor_history" if absent else ridge.reason,
        }
    condition: Any = ridge.condition
    alike: Any = ridge.reason or ("collinear" if condition is None else None)
    if not ridge.sure:
        condition, alike = Unsure(condition), Unsure(alike)
    return {
        "r2": ridge.r2,
        "condition": condition,
        "condition_reason": alike,
        "n": ridge.n,
        "reason": ridge.reason,
        "loadings": loadings,
    }


def value(found: Value, reason: str | None = None) -> Content:
    """Fields of one number; ``reason`` overrules (then it is of no returns)."""
    if reason is not None:
        return {"value": None, "n": 0, "reason": reason}
    number = found.value if found.sure else Unsure(found.value)
    return {"value": number, "n": found.n, "reason": found.reason}


def trend(found: Trend, factors: Factors, reason: str | None = None) -> Content:
    """Fields of a trend."""
    reason = reason or found.reason
    if reason is not None:
        empty = dict.fromkeys(("slope", "strength", "direction"))
        return {**empty, "reason": reason, "strength_reason": reason}
    slope, strength = found.slope or 0.0, found.strength
    flat = found.spread < FLAT
    # How well the line fits decides the word of a steep slope alone.
    unclear = flat or (strength is not None and near(strength, factors.trend_r2))
    doubtful = near(abs(slope), factors.trend_slope) or (
        unclear and abs(slope) > factors.trend_slope
    )
    return {
        "slope": slope if found.sure else Unsure(slope),
        "strength": Unsure(strength) if flat else strength,
        "direction": Unsure(found.word) if doubtful else found.word,
        "reason": None,
        "strength_reason": "constant" if strength is None else None,
    }


def series(risk: Risk, factors: Factors, reason: str | None = None) -> Content:
    """Fields of a series of returns; ``reason`` says why there is none."""
    windows = {str(w): value(v, reason) for w, v in risk.volatility.items()}
    return {
        "volatility": windows,
        "har": value(risk.har, reason),
        "trend": trend(risk.trend, factors, reason),
        "percentile": value(risk.percentile, reason),
    }
