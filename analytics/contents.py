"""Arrays of statistics as the fields of published records.

Doubles are null where there is a reason, and the reason is a word beside them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from analytics.factors import Factors
from analytics.kernels.reasons import WORDS, Codes

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Content: TypeAlias = dict[str, Any]
TILTS = ("neutral", "moderate", "strong")
DIRECTIONS = {-1: "decreasing", 0: "stable", 1: "increasing"}
REGRESSION = ("beta", "alpha", "r2", "se", "p")


def words(codes: Codes) -> list[str | None]:
    """Words of reasons."""
    return [WORDS[code] for code in codes.tolist()]


def numbers(values: NDArray[Any], codes: Codes) -> list[Any]:
    """Values, None where there is a reason."""
    found: list[Any] = values.tolist()
    for place in np.flatnonzero(codes).tolist():
        found[place] = None
    return found


def _rows(columns: Mapping[str, Sequence[Any]]) -> list[Content]:
    """Objects with the columns' names as fields."""
    names = tuple(columns)
    return [
        dict(zip(names, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


def _named(values: NDArray[Any], codes: Codes, names: Any) -> list[str | None]:
    return [
        None if code else names[value]
        for value, code in zip(values.tolist(), codes.tolist(), strict=True)
    ]


def exposures(found: Arrays, key: str, factor: str) -> list[Content]:
    """Exposure of each portfolio to a factor; ``key`` is that of ``factor_keys``."""
    reason = found[f"{key}.reason"]
    columns: dict[str, Sequence[Any]] = {"factor": [factor] * len(reason)}
    for name, code in (
        ("value", "reason"),
        ("money", "money_reason"),
        ("coverage", "coverage_reason"),
    ):
        columns[name] = numbers(found[f"{key}.{name}"], found[f"{key}.{code}"])
    for code in ("reason", "money_reason", "coverage_reason"):
        columns[code] = words(found[f"{key}.{code}"])
    if f"{key}.tilt" in found:
        columns["tilt"] = _named(found[f"{key}.tilt"], reason, TILTS)
    return _rows(columns)


def regressions(found: Arrays, key: str) -> list[Content]:
    """Regression of each symbol on a factor."""
    reason = found[f"{key}.reason"]
    columns: dict[str, Sequence[Any]] = {
        name: numbers(found[f"{key}.{name}"], reason) for name in REGRESSION
    }
    columns["n"] = found[f"{key}.n"].tolist()
    columns["clipped"] = found[f"{key}.clipped"].tolist()
    if f"{key}.tilt" in found:
        columns["tilt"] = _named(found[f"{key}.tilt"], reason, TILTS)
    columns["reason"] = words(reason)
    return _rows(columns)


def ridges(found: Arrays, factors: Factors) -> list[Content]:
    """Ridge of each symbol, its loadings by the style's name."""
    reason, condition = found["ridge.reason"], found["ridge.condition_reason"]
    loadings = {}
    for style in factors.styles:
        key = f"ridge.{style.symbol}"
        why = found[f"{key}.reason"]
        loadings[style.name] = _rows(
            {
                "symbol": [style.symbol] * len(why),
                "loading": numbers(found[f"{key}.loading"], why),
                "clipped": found[f"{key}.clipped"].tolist(),
                "reason": words(why),
            }
        )
    return _rows(
        {
            "r2": numbers(found["ridge.r2"], reason),
            "condition": numbers(found["ridge.condition"], condition),
            "condition_reason": words(condition),
            "n": found["ridge.n"].tolist(),
            "reason": words(reason),
            "loadings": _rows(loadings) if loadings else [{}] * len(reason),
        }
    )


def values(found: Arrays, key: str) -> list[Content]:
    """One number of each series, with its count and reason."""
    reason = found[f"{key}.reason"]
    return _rows(
        {
            "value": numbers(found[f"{key}.value"], reason),
            "n": found[f"{key}.n"].tolist(),
            "reason": words(reason),
        }
    )


def trends(found: Arrays) -> list[Content]:
    """Trend of each series."""
    reason, strength = found["trend.reason"], found["trend.strength_reason"]
    return _rows(
        {
            "slope": numbers(found["trend.slope"], reason),
            "strength": numbers(found["trend.strength"], strength),
            "direction": _named(found["trend.direction"], reason, DIRECTIONS),
            "reason": words(reason),
            "strength_reason": words(strength),
        }
    )


def windows(found: Arrays, factors: Factors) -> dict[str, list[Content]]:
    """Volatility of each series, by the window's length."""
    return {
        str(w.sessions): values(found, f"volatility.{w.sessions}")
        for w in factors.volatility
    }


def series(found: Arrays, factors: Factors) -> dict[str, list[Content]]:
    """Say what else is known of each series: forecast, trend, percentile."""
    return {
        "har": values(found, "har"),
        "trend": trends(found),
        "percentile": values(found, "percentile"),
    }


def symbols(found: Arrays, factors: Factors) -> list[Content]:
    """Record of each symbol."""
    spreads = {s.key: regressions(found, f"spread.{s.key}") for s in factors.spreads}
    length = len(found["market.reason"])
    return _rows(
        {
            "market": regressions(found, "market"),
            "interest_rate": regressions(found, "interest_rate"),
            "ridge": ridges(found, factors),
            "spreads": _rows(spreads) if spreads else [{}] * length,
            "volatility": _rows(windows(found, factors)),
            **series(found, factors),
        }
    )


def portfolios(
    found: Arrays,
    own: Arrays,
    correlation: Sequence[Content],
    sectors: Sequence[Sequence[Content]],
    factors: Factors,
    status: Sequence[str],
) -> list[Content]:
    """Record of each portfolio.

    Parameters
    ----------
    found
        ``kernels.risk.Risk.values``.
    own
        ``kernels.risk.return_volatility``, one session.
    """
    f = factors
    length = len(status)
    styles = {s.name: exposures(found, f"ridge.{s.symbol}", s.symbol) for s in f.styles}
    spreads = {s.key: exposures(found, f"spread.{s.key}", s.key) for s in f.spreads}
    betas = {
        "market": exposures(found, "market", f.market),
        "interest_rate": exposures(found, "interest_rate", f.interest_rate),
    }
    coverage = found["volatility.coverage_reason"]
    volatility = {
        "coverage": numbers(found["volatility.coverage"], coverage),
        "coverage_reason": words(coverage),
        **windows(found, f),
        **series(found, f),
    }
    return _rows(
        {
            "status": status,
            "betas": _rows(betas),
            "styles": _rows(styles) if styles else [{}] * length,
            "spreads": _rows(spreads) if spreads else [{}] * length,
            "volatility": _rows(volatility),
            "twr_volatility": _rows(windows(own, f)),
            "correlation": correlation,
            "sectors": sectors,
        }
    )
