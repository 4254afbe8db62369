"""Arrays of statistics as the text of published records, column by column.

Doubles are null (NaN) where there is a reason, and the reason is a word beside them.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from numpy.typing import NDArray

from analytics.factors import Factors
from analytics.kernels.reasons import WORDS, Codes
from analytics.records import encode
from analytics.texts import BOOLS, Parts, Table, joined, numbers, objects, picked, table

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
REASONS = table(WORDS)
TILTS = table(("neutral", "moderate", "strong", None))
DIRECTIONS = table(("decreasing", "stable", "increasing", None))
REGRESSION = ("beta", "alpha", "r2", "se", "p")


def words(codes: Codes) -> Parts:
    """Words of reasons."""
    return picked(codes, REASONS)


def named(values: NDArray[Any], codes: Codes, names: Table) -> Parts:
    """Words of small integers from 0 on; the last word where there is a reason."""
    places = values.copy()
    places[codes != 0] = len(names) - 1
    return picked(places, names)


def exposures(found: Arrays, key: str, factor: str) -> Parts:
    """Exposure of each portfolio to a factor; ``key`` is that of ``factor_keys``."""
    columns: dict[str, Parts] = {"factor": [encode(factor)]}
    for name in ("value", "money", "coverage"):
        columns[name] = numbers(found[f"{key}.{name}"])
    for code in ("reason", "money_reason", "coverage_reason"):
        columns[code] = words(found[f"{key}.{code}"])
    if f"{key}.tilt" in found:
        columns["tilt"] = named(found[f"{key}.tilt"], found[f"{key}.reason"], TILTS)
    return objects(columns)


def regressions(found: Arrays, key: str) -> Parts:
    """Regression of each symbol on a factor."""
    reason = found[f"{key}.reason"]
    columns = {name: numbers(found[f"{key}.{name}"]) for name in REGRESSION}
    columns["n"] = numbers(found[f"{key}.n"])
    columns["clipped"] = picked(found[f"{key}.clipped"], BOOLS)
    if f"{key}.tilt" in found:
        columns["tilt"] = named(found[f"{key}.tilt"], reason, TILTS)
    columns["reason"] = words(reason)
    return objects(columns)


def ridges(found: Arrays, factors: Factors) -> Parts:
    """Ridge of each symbol, its loadings by the style's name."""
    loadings = {}
    for style in factors.styles:
        key = f"ridge.{style.symbol}"
        loadings[style.name] = objects(
            {
                "symbol": [encode(style.symbol)],
                "loading": numbers(found[f"{key}.loading"]),
                "clipped": picked(found[f"{key}.clipped"], BOOLS),
                "reason": words(found[f"{key}.reason"]),
            }
        )
    return objects(
        {
            "r2": numbers(found["ridge.r2"]),
            "condition": numbers(found["ridge.condition"]),
            "condition_reason": words(found["ridge.condition_reason"]),
            "n": numbers(found["ridge.n"]),
            "reason": words(found["ridge.reason"]),
            "loadings": objects(loadings),
        }
    )


def values(found: Arrays, key: str) -> Parts:
    """One number of each series, with its count and reason."""
    return objects(
        {
            "value": numbers(found[f"{key}.value"]),
            "n": numbers(found[f"{key}.n"]),
            "reason": words(found[f"{key}.reason"]),
        }
    )


def trends(found: Arrays) -> Parts:
    """Trend of each series."""
    reason = found["trend.reason"]
    return objects(
        {
            "slope": numbers(found["trend.slope"]),
            "strength": numbers(found["trend.strength"]),
            "direction": named(found["trend.direction"] + 1, reason, DIRECTIONS),
            "reason": words(reason),
            "strength_reason": words(found["trend.strength_reason"]),
        }
    )


def windows(found: Arrays, factors: Factors) -> dict[str, Parts]:
    """Volatility of each series, by the window's length."""
    return {
        str(w.sessions): values(found, f"volatility.{w.sessions}")
        for w in factors.volatility
    }


def series(found: Arrays) -> dict[str, Parts]:
    """Say what else is known of each series: forecast, trend, percentile."""
    return {
        "har": values(found, "har"),
        "trend": trends(found),
        "percentile": values(found, "percentile"),
    }


def symbols(found: Arrays, factors: Factors) -> list[bytes]:
    """Record of each symbol."""
    spreads = {s.key: regressions(found, f"spread.{s.key}") for s in factors.spreads}
    parts = objects(
        {
            "market": regressions(found, "market"),
            "interest_rate": regressions(found, "interest_rate"),
            "ridge": ridges(found, factors),
            "spreads": objects(spreads),
            "volatility": objects(windows(found, factors)),
            **series(found),
        }
    )
    return joined(parts, len(found["market.reason"]))


def portfolios(
    found: Arrays,
    own: Arrays,
    correlation: list[bytes],
    sectors: list[bytes],
    factors: Factors,
    status: list[bytes],
) -> list[bytes]:
    """Record of each portfolio.

    Parameters
    ----------
    found
        ``kernels.risk.Risk.values``, of any sessions side by side.
    own
        ``kernels.risk.return_volatility`` of the same cells.
    correlation, sectors, status
        Texts of these fields, one for each cell.
    """
    f = factors
    styles = {s.name: exposures(found, f"ridge.{s.symbol}", s.symbol) for s in f.styles}
    spreads = {s.key: exposures(found, f"spread.{s.key}", s.key) for s in f.spreads}
    betas = {
        "market": exposures(found, "market", f.market),
        "interest_rate": exposures(found, "interest_rate", f.interest_rate),
    }
    volatility = {
        "coverage": numbers(found["volatility.coverage"]),
        "coverage_reason": words(found["volatility.coverage_reason"]),
        **windows(found, f),
        **series(found),
    }
    parts = objects(
        {
            "status": [status],
            "betas": objects(betas),
            "styles": objects(styles),
            "spreads": objects(spreads),
            "volatility": objects(volatility),
            "twr_volatility": objects(windows(own, f)),
            "correlation": [correlation],
            "sectors": [sectors],
        }
    )
    return joined(parts, len(status))
