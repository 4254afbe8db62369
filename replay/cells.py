"""One record beside another, number by number: equal means the same bits.

Expected is what the engine says, found what is stored. A double must have the same 64
bits; what PostgreSQL keeps as ``numeric`` or ``jsonb`` must be the same decimal
(``numeric`` has no negative zero, so there ``-0.0`` is ``0.0``).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

from connectors.sink import Family

JSON = frozenset({"content", "reasons", "quality", "cause", "previous", "flags"})
"""Columns of JSON, of which the driver gives the text."""


class Cell(NamedTuple):
    """A leaf that is not the same: where it stands, what it must be, what it is."""

    path: tuple[str, ...]
    expected: Any
    found: Any


def read(content: bytes | str) -> dict[str, Any]:
    """Read JSON, its numbers as they are spelled."""
    found: dict[str, Any] = json.loads(content, parse_float=Decimal)
    return found


def stored(family: Family, row: Mapping[str, Any]) -> dict[str, Any]:
    """Make a record of a row of schema ``analytics``, in the form of ``read``."""
    found = {
        name: read(value) if name in JSON and value is not None else value
        for name, value in row.items()
    }
    return found | (found.pop("content") or {} if family.document else {})


def compare(expected: Any, found: Any) -> tuple[int, list[Cell]]:
    """Count the leaves of what is expected, and list those that are not the same.

    What stands against an object or array of another shape is one leaf. Costs about
    half a microsecond a leaf.
    """
    differing: list[Cell] = []
    return _walk(expected, found, None, differing), differing


_Place: TypeAlias = "tuple[_Place, str | int] | None"


def _walk(expected: Any, found: Any, place: _Place, differing: list[Cell]) -> int:
    """Compare; paths are made of the few that differ."""
    if type(expected) is dict and expected and isinstance(found, Mapping):
        leaves = 0
        for name, value in expected.items():
            leaves += _walk(value, found.get(name), (place, name), differing)
        return leaves
    if type(expected) is list and _is_list(found) and len(expected) == len(found):
        leaves = 0
        for at, value in enumerate(expected):
            leaves += _walk(value, found[at], (place, at), differing)
        return leaves
    if not same(expected, found):
        differing.append(Cell(_path(place), expected, found))
    return 1


def _path(place: _Place) -> tuple[str, ...]:
    names: list[str] = []
    while place is not None:
        place, name = place
        names.append(str(name))
    return tuple(reversed(names))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def same(expected: Any, found: Any) -> bool:
    """Whether two leaves are the same.

    Examples
    --------
    >>> same(Decimal("0.1"), 0.1), same(Decimal("0.1"), 0.10000000000000002)
    (True, False)
    >>> same(Decimal("-0.0"), 0.0), same(0, None), same("2022-01-03", date(2022, 1, 3))
    (False, False, True)
    """
    if type(found) is float:
        # Doubles that are equal have the same bits, but for the zeros.
        if type(expected) is not int and type(expected) is not Decimal:
            return False
        value = float(expected)
        return value == found and (found != 0 or _bits(value) == _bits(found))
    if type(expected) is type(found):
        return bool(expected == found)
    if isinstance(found, date):
        return bool(expected == found.isoformat())
    return _is_number(expected) and _is_number(found) and bool(expected == found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _bits(value: float) -> bytes:
    return struct.pack("<d", value)
