"""Numbers of a published record by name and kind: what a difference is taken of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from analytics.records import CONCENTRATION, MONEY
from connectors.difference_models import Kind
from connectors.sink import RISK, SNAPSHOTS, Family

Number: TypeAlias = int | float | Decimal | None
Numbers: TypeAlias = Mapping[str, Number]

COUNTS = ("lots", "long_lots", "short_lots", "names")
MEANS = ("mean", "weighted_mean")
COUNTED = ("effective_number", "included", "excluded", "null_pairs")
MEASURED = {SNAPSHOTS.name: SNAPSHOTS, RISK.name: RISK}
"""Families whose numbers are a portfolio's."""

HEADLINES = ("nav", "pnl", "daily_return", "betas.market", "volatility.21")
"""What is asked for first."""

_SNAPSHOT = msgspec.defstruct(
    "Snapshot",
    [
        *((name, Decimal | None, None) for name in MONEY),
        *((name, float | None, None) for name in ("daily_return", *CONCENTRATION)),
        *((name, int | None, None) for name in COUNTS),
    ],
    gc=False,
)
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(MONEY, "money"),
    **dict.fromkeys(CONCENTRATION, "concentration"),
    **dict.fromkeys(COUNTS, "count"),
    "daily_return": "return",
}
_decode_snapshot = msgspec.json.Decoder(_SNAPSHOT).decode
_decode_risk = msgspec.json.Decoder(dict[str, Any]).decode


def numbers_of(family: Family, value: bytes | None) -> dict[str, Number]:
    """Read the numbers of a record; none of a retraction.

    Names are those that ``deltafolio why`` takes; amounts are exact.
    """
    if value is None:
        return {}
    if family is SNAPSHOTS:
        return msgspec.structs.asdict(_decode_snapshot(value))
    return dict(_of_risk(_decode_risk(value)))


def kind_of(metric: str) -> Kind:
    """Say what a metric measures.

    Examples
    --------
    >>> kind_of("nav"), kind_of("betas.market"), kind_of("betas.market.money")
    ('money', 'betas', 'factor_money')
    >>> kind_of("twr_volatility.21"), kind_of("correlation.included")
    ('volatility', 'count')
    """
    first, _, rest = metric.partition(".")
    if first in _KINDS:
        return _KINDS[first]
    last = rest.rpartition(".")[2]
    if last == "money":
        return "factor_money"
    if last in ("percentile", "coverage"):
        return last  # type: ignore[return-value]  # both are kinds
    if last in COUNTED:
        return "count"
    return first.removeprefix("twr_")  # type: ignore[return-value]  # of risk


def _of_risk(content: Mapping[str, Any]) -> Iterator[tuple[str, Number]]:
    parts: dict[str, Callable[[str, Any], Iterator[tuple[str, Number]]]] = {
        "betas": _exposures,
        "styles": _exposures,
        "spreads": _exposures,
        "volatility": _volatilities,
        "twr_volatility": _volatilities,
        "correlation": _correlation,
        "sectors": _sectors,
    }
    for name, numbers in parts.items():
        if name in content:
            yield from numbers(name, content[name])


def _exposures(name: str, at: Any) -> Iterator[tuple[str, Number]]:
    for factor, exposure in at.items():
        yield f"{name}.{factor}", exposure["value"]
        yield f"{name}.{factor}.money", exposure["money"]
        yield f"{name}.{factor}.coverage", exposure["coverage"]


def _volatilities(name: str, at: Any) -> Iterator[tuple[str, Number]]:
    for window, found in at.items():
        if window == "trend":
            yield f"{name}.trend.slope", found["slope"]
            yield f"{name}.trend.strength", found["strength"]
        elif window == "coverage":
            yield f"{name}.coverage", found
        elif isinstance(found, dict):
            yield f"{name}.{window}", found["value"]


def _correlation(name: str, at: Any) -> Iterator[tuple[str, Number]]:
    for field in (*MEANS, *COUNTED):
        yield f"{name}.{field}", at[field]


def _sectors(name: str, at: Any) -> Iterator[tuple[str, Number]]:
    """Yield net weights once, and active ones by the benchmark's code."""
    known: set[str] = set()
    for block in at:
        code = block["benchmark"]
        active = "active" if code is None else f"active.{code}"
        for place, sector in enumerate(block["sectors"]):
            if sector not in known:
                yield f"{name}.{sector}", block["net"][place]
            known.add(sector)
            yield f"{name}.{sector}.{active}", block["active"][place]


def less(one: Number, other: Number) -> Number:
    """One less the other; None where one of them is.

    Examples
    --------
    >>> less(Decimal("0.3"), Decimal("0.1")), less(1.5, None)
    (Decimal('0.2'), None)
    """
    if one is None or other is None:
        return None
    if isinstance(one, Decimal) or isinstance(other, Decimal):
        return Decimal(one) - Decimal(other)
    return one - other
