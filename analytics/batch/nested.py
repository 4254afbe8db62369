"""Cells of nested records (``risk``, ``symbols``), and how near they must be.

Section 10.4: ``|a - b| <= rel·max(|a|, |b|) + e`` with rel = 1e-9 and an ``e`` by
kind; some kinds have rules of their own. What stands as ``Unsure`` is not compared.
"""

from collections.abc import Iterator, Mapping
from math import sqrt
from typing import Any, TypeAlias

from analytics.batch.unsure import Unsure

Path: TypeAlias = tuple[str, ...]
Cell: TypeAlias = tuple[Path, Any, Any, bool]

REL = 1e-9
RATIO = 1e-12
SESSION = 1e-14
ANNUAL = SESSION * sqrt(252)
LOOSE = 1e-7
CONDITION = 1e-6
MONEY = 1e-6
CERTAIN, NOTHING = 1e-12, 1e-300

# By the last name of the path; a number of any other name is a ratio.
LEAST = {"alpha": SESSION, "se": SESSION, "money": MONEY, "slope": ANNUAL}
VOLATILITIES = ("volatility", "twr_volatility")
MISSING = "nothing"


def near(a: float, b: float, *, rel: float = REL, least: float = RATIO) -> bool:
    """Whether two doubles agree to ``rel``, or to ``least``."""
    return abs(a - b) <= rel * max(abs(a), abs(b)) + least


def cells(expected: Any, found: Any) -> Iterator[Cell]:
    """Compare every cell: (path, expected, found, whether they agree).

    Fields of ``found`` that the oracle does not know are differences; ``status``
    depends on the time of the commits and is passed over.
    """
    theirs = {name: value for name, value in found.items() if name != "status"}
    yield from _walk((), expected, theirs, loose=False)


def _walk(path: Path, expected: Any, found: Any, *, loose: bool) -> Iterator[Cell]:
    if isinstance(expected, Unsure):
        return
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        # What is made of a repaired matrix is as near as the repair is.
        repaired = loose or bool(expected.get("repaired"))
        for name in sorted(expected.keys() | found.keys()):
            mine, theirs = expected.get(name, MISSING), found.get(name, MISSING)
            yield from _walk((*path, name), mine, theirs, loose=repaired)
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            yield path, expected, found, False
            return
        for place, (mine, theirs) in enumerate(zip(expected, found, strict=True)):
            yield from _walk((*path, str(place)), mine, theirs, loose=loose)
    else:
        yield path, expected, found, agree(path, expected, found, loose=loose)


def agree(path: Path, expected: Any, found: Any, *, loose: bool = False) -> bool:
    """Whether a cell is what the oracle says.

    Examples
    --------
    >>> agree(("market", "beta"), 1.0, 1.0 + 1e-10)
    True
    >>> agree(("market", "alpha"), 0.0, 1e-13), agree(("market", "n"), 90, 91)
    (False, False)
    """
    if not isinstance(expected, float) or isinstance(found, bool | str | None):
        return bool(expected == found and type(expected) is type(found))
    if not isinstance(found, int | float):
        return False
    name = path[-1]
    if name == "effective_number":
        # The number is a reciprocal: what is exact to a digit is wᵀCw.
        rel = LOOSE if loose else REL
        return found > 0 and near(1 / expected, 1 / found, rel=rel)
    if name == "p":
        return _likely(expected, found)
    return near(expected, found, rel=_relative(path, loose=loose), least=_least(path))


def _relative(path: Path, *, loose: bool) -> float:
    if loose or path[-2:-1] == ("har",):
        return LOOSE
    return CONDITION if path[-1] == "condition" else REL


def _least(path: Path) -> float:
    annual = path[-1] == "value" and path[0] in VOLATILITIES
    if annual and "percentile" not in path:
        return ANNUAL
    return LEAST.get(path[-1], RATIO)


def _likely(a: float, b: float) -> bool:
    """Whether two p-values agree; small ones to fewer digits."""
    if max(a, b) < NOTHING:
        return True
    if max(a, b) < CERTAIN:
        return near(a, b, rel=CONDITION, least=0.0)
    return near(a, b)
