"""One record beside another, number by number: equal means the same bits.

Expected is what the engine says, found what is stored. A double must have the same 64
bits; what PostgreSQL keeps as ``numeric`` or ``jsonb`` must be the same decimal
(``numeric`` has no negative zero, so there ``-0.0`` is ``0.0``).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from connectors.sink import Family


class Cell(NamedTuple):
    """A leaf of a record: where it stands, what it must be, what it is."""

    path: tuple[str, ...]
    expected: Any
    found: Any

    @property
    def equal(self) -> bool:
        """Whether both are the same."""
        return same(self.expected, self.found)


def read(content: bytes | str) -> dict[str, Any]:
    """Read JSON, its numbers as they are spelled."""
    found: dict[str, Any] = json.loads(content, parse_float=Decimal)
    return found


def stored(family: Family, row: Mapping[str, Any]) -> dict[str, Any]:
    """Make a record of a row of schema ``analytics``, in the form of ``read``."""
    found = {name: _value(value) for name, value in row.items()}
    return found | (found.pop("content") or {} if family.document else {})


def _value(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in "[{":
        return read(value)
    return value


def cells(
    expected: Mapping[str, Any], found: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[Cell]:
    """List the leaves of what is expected, each beside what is found."""
    for name, value in expected.items():
        yield from _leaves(value, found.get(name), (*path, name))


def _leaves(expected: Any, found: Any, path: tuple[str, ...]) -> Iterator[Cell]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping) and expected:
        yield from cells(expected, found, path)
    elif _is_list(expected) and _is_list(found) and len(expected) == len(found):
        for place, pair in enumerate(zip(expected, found, strict=True)):
            yield from _leaves(*pair, (*path, str(place)))
    else:
        yield Cell(path, expected, found)


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
    if isinstance(found, float):
        return _is_number(expected) and _bits(float(expected)) == _bits(found)
    if isinstance(found, date):
        return bool(expected == found.isoformat())
    if _is_number(expected) and _is_number(found):
        return bool(expected == found)
    return type(expected) is type(found) and bool(expected == found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _bits(value: float) -> bytes:
    return struct.pack("<d", value)
