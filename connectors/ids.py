"""Ids in sentences, and as they are asked for: by name or in ranges."""

from __future__ import annotations

from collections.abc import Iterable, Set

import msgspec

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


class Wanted(msgspec.Struct, frozen=True):
    """Ids that are asked for.

    Attributes
    ----------
    ids
        Named one by one: each must be known.
    ranges
        First and last, both included: ids that are not known are skipped.
    """

    ids: tuple[int, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()

    def among(self, known: Set[int]) -> set[int]:
        """Ids that are known.

        Examples
        --------
        >>> sorted(Wanted((7,), ((1, 3),)).among({1, 3, 4, 7}))
        [1, 3, 7]
        """
        found = {one for a, b in self.ranges for one in known if a <= one <= b}
        return found | (known & set(self.ids))

    def unknown(self, known: Set[int]) -> str:
        """Name the ids that are not known, and the ranges in which none is.

        Examples
        --------
        >>> Wanted((7, 8), ((1, 3), (4, 6))).unknown({1, 8})
        '7, 4-6'
        """
        missing = set(self.ids) - known
        empty = [
            f"{a}-{b}"
            for a, b in self.ranges
            if not any(a <= one <= b for one in known)
        ]
        return ", ".join(([named(missing)] if missing else []) + empty)
