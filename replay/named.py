"""Cells of a run that differ from live, by name: what is other in them."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from connectors.settings import Settings
from connectors.sink import Family
from replay.cells import compare, read
from replay.differences import Record, held
from replay.said import GONE, Difference, Word

NAMED = 10
"""So many are named."""
HEAD = frozenset(
    {"portfolio", "symbol", "session", "revision", "as_of", "cause", "previous"}
)
"""Fields that tell whose a record is and where from, not what it says."""


class Named(NamedTuple):
    """A cell that differs.

    Attributes
    ----------
    topic, key
        Of the live record.
    fields
        How many fields are not the same; 0 where one side has no record, or only the
        digest differs.
    path, ours, live
        The first of them: the run's value and live's.
    """

    topic: str
    key: str
    fields: int
    path: str
    ours: Any
    live: Any


def first_of(differences: Iterable[Difference], most: int) -> list[Difference]:
    """Choose the first ones by partition and key: few partitions are read for them."""

    def place(found: Difference) -> tuple[int, bytes]:
        word = found.live or found.ours
        return (word.partition if word else 0), found.key

    return heapq.nsmallest(most, differences, key=place)


async def name(
    live: Settings, branch: Settings, family: Family, differences: Iterable[Difference]
) -> list[Named]:
    """Read both sides of some differences, and say what is other in each.

    Where a side has no record nothing is read.
    """
    partitions: dict[int, set[bytes]] = defaultdict(set)
    for found in differences:
        if _is_there(found.live) and _is_there(found.ours):
            partitions[found.live.partition].add(found.key)  # type: ignore[union-attr]
    ours: dict[bytes, Record] = {}
    theirs: dict[bytes, Record] = {}
    for partition, keys in partitions.items():
        ours |= await held(branch, family, partition, keys.__contains__)
        theirs |= await held(live, family, partition, keys.__contains__)
    topic = family.topic(live.topics)
    told = []
    for found in differences:
        key = found.key
        if key in ours or key in theirs:
            told.append(named(topic, key, ours.get(key), theirs.get(key)))
            continue
        sides = (found.ours, found.live)
        words = ["a record" if _is_there(one) else "no record" for one in sides]
        told.append(Named(topic, key.decode(), 0, "", *words))
    return told


def _is_there(word: Word | None) -> bool:
    return word is not None and word.digest != GONE


def named(topic: str, key: bytes, ours: Record | None, live: Record | None) -> Named:
    """Compare two records field by field."""
    mine, theirs = (_content(record) for record in (ours, live))
    text = key.decode()
    if mine is None or theirs is None:
        words = ["no record" if one is None else "a record" for one in (mine, theirs)]
        return Named(topic, text, 0, "", *words)
    _, differ = compare(mine, theirs)
    if not differ:
        return Named(topic, text, 0, "its digest", None, None)
    first = differ[0]
    path = ".".join(first.path)
    return Named(topic, text, len(differ), path, first.expected, first.found)


def _content(record: Record | None) -> dict[str, Any] | None:
    """Fields of a record; None if there is none, or a retraction."""
    if record is None or record.value is None:
        return None
    found = read(record.value)
    return {field: value for field, value in found.items() if field not in HEAD}
