"""Ids in sentences."""

from __future__ import annotations

from collections.abc import Iterable

NAMED = 10
"""So many are named."""


def named(ids: Iterable[int]) -> str:
    """Name the first ids, and say how many more there are.

    Examples
    --------
    >>> named([3, 1])
    '1, 3'
    >>> named(range(12))
    '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more'
    """
    found = sorted(ids)
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(map(str, found[:NAMED])) + more
