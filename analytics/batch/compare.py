"""The oracle's records beside published ones: which cells differ.

Money, quantities, prices, counts, flags, reasons and words must be equal; a
double may differ by ``1e-9·max(|a|, |b|) + e`` with the ``e`` of its kind
(definition: section 10.4). A record that is missing or too much is a difference.
``status`` depends on the time of the commits, not on the rows, and is not
compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from analytics.batch import nested
from analytics.batch.portfolios import COLUMNS, CONCENTRATION, LOT_MONEY, MONEY

Where: TypeAlias = tuple[str, int | str, str]

SCALES = {
    **dict.fromkeys((*MONEY, *LOT_MONEY, "quantity"), 4),
    **dict.fromkeys(("price", "entry_price"), 6),
}
RATIOS: Mapping[str, float] = {
    "daily_return": 1e-12,
    "hhi": 1e-12 * 10_000,
    **dict.fromkeys(CONCENTRATION[1:], 1e-12),
}
COUNTS = ("lots", "long_lots", "short_lots", "names")
SNAPSHOT = (*MONEY, *RATIOS, *COUNTS, "reasons")
QUALITY = (
    "priced",
    "stale",
    "unpriced",
    "private_mark",
    "at_cost",
    "jump",
    "orphan_events",
    "quantity_unknown",
    "overflow",
    "partial",
)
LOT_COLUMNS = (*COLUMNS, "flags")


@dataclass(frozen=True, slots=True)
class Difference:
    """One cell that is not what it must be; ``found`` is what was published."""

    family: str
    owner: int | str
    session: str
    column: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        """Both values and where they stand."""
        kind = "symbol" if isinstance(self.owner, str) else "portfolio"
        return (
            f"{self.family} of {kind} {self.owner}, session {self.session}, "
            f"{self.column}: expected {self.expected}, found {self.found}"
        )


@dataclass(slots=True)
class Comparison:
    """Counts of cells, and the first that differs."""

    cells: int = 0
    differ: int = 0
    first: Difference | None = None

    def record(
        self,
        family: str,
        owner: int | str,
        session: str,
        expected: Mapping[str, Any] | None,
        found: Mapping[str, Any] | None,
    ) -> None:
        """Compare one record; None is a record that is not there."""
        where = (family, owner, session)
        if expected is None or found is None:
            both = [None if r is None else "a record" for r in (expected, found)]
            self._cell(where, "record", both[0], both[1], equal=both[0] == both[1])
        elif family == "snapshots":
            self._snapshot(where, expected, found)
        elif family == "positions":
            self._positions(where, expected, found)
        else:
            self._nested(where, expected, found)

    def _snapshot(
        self,
        where: Where,
        expected: Mapping[str, Any],
        found: Mapping[str, Any],
    ) -> None:
        for name in SNAPSHOT:
            self._value(where, name, name, expected[name], found[name])
        for name in QUALITY:
            mine, theirs = expected["quality"][name], found["quality"][name]
            self._value(where, name, f"quality.{name}", mine, theirs)

    def _positions(
        self,
        where: Where,
        expected: Mapping[str, Any],
        found: Mapping[str, Any],
    ) -> None:
        self._value(where, "lot", "lot", expected["lot"], list(found["lot"]))
        self._value(where, "reasons", "reasons", expected["reasons"], found["reasons"])
        if expected["lot"] != list(found["lot"]):
            return
        for name in LOT_COLUMNS:
            rows = zip(expected["lot"], expected[name], found[name], strict=True)
            for lot, mine, theirs in rows:
                self._value(where, name, f"{name} of lot {lot}", mine, theirs)

    def _nested(
        self,
        where: Where,
        expected: Mapping[str, Any],
        found: Mapping[str, Any],
    ) -> None:
        for path, mine, theirs, equal in nested.cells(expected, found):
            self._cell(where, ".".join(path), mine, theirs, equal=equal)

    def _value(
        self,
        where: Where,
        name: str,
        column: str,
        expected: Any,
        found: Any,
    ) -> None:
        equal = same(name, expected, found)
        if not equal and name in SCALES and expected is not None:
            expected = Decimal(expected).scaleb(-SCALES[name])
        self._cell(where, column, expected, found, equal=equal)

    def _cell(
        self,
        where: Where,
        column: str,
        expected: Any,
        found: Any,
        *,
        equal: bool,
    ) -> None:
        self.cells += 1
        if equal:
            return
        self.differ += 1
        if self.first is None:
            self.first = Difference(*where, column, expected, found)


def same(name: str, expected: Any, found: Any) -> bool:
    """Whether a published value is what the oracle says.

    Examples
    --------
    >>> same("nav", 12_500, Decimal("1.25")), same("lots", 3, 3)
    (True, True)
    >>> same("daily_return", 0.1, 0.1 + 1e-10), same("daily_return", 0.0, None)
    (True, False)
    """
    if expected is None or found is None:
        return expected is None and found is None
    if name in SCALES:
        return bool(Decimal(found).scaleb(SCALES[name]) == expected)
    if name in RATIOS:
        return nested.near(expected, float(found), least=RATIOS[name])
    return bool(expected == found)
