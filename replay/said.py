"""What results topics say: of each cell the digest and revision that count.

Values are not read: header ``d`` is the digest of a record's content (0: retracted),
header ``r`` its revision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from typing import NamedTuple, TypeAlias

import msgspec
from aiokafka import ConsumerRecord

from connectors.kafka import read_to_end
from connectors.settings import Settings
from connectors.sink import FAMILIES, Family, Revision
from connectors.sink_records import revision_of
from replay.ask import Ask

DIGEST = "d"
GONE = bytes(8)
"""Digest of a retraction."""

Wanted: TypeAlias = Callable[[bytes], bool]


class Word(NamedTuple):
    """What was last said of a cell."""

    digest: bytes
    revision: Revision
    partition: int


Words: TypeAlias = dict[bytes, Word]


class Difference(NamedTuple):
    """A cell that a run and the live topics do not agree on; None: nothing there."""

    key: bytes
    ours: Word | None
    live: Word | None


class Compared(msgspec.Struct):
    """Cells of one family, a run beside live.

    Attributes
    ----------
    derived
        Cells that the run has.
    unchanged
        Cells of the same content.
    newer
        Other content, of a revision that knows more of the journal than the run.
    differ
        Other content, although the run knows all of the journal that live knows of.
    """

    derived: int = 0
    unchanged: int = 0
    newer: int = 0
    differ: list[Difference] = []


def families_of(ask: Ask) -> list[Family]:
    """Families of a run, in the order of the flow."""
    return [family for family in FAMILIES if family.name in ask.families]


def wanted_by(ask: Ask, family: Family) -> Wanted:
    """Make a test whether a key is in the range and of the portfolios."""
    first, last = str(ask.first).encode(), str(ask.last).encode()
    some = None if ask.portfolios is None or family.of_symbols else set(ask.portfolios)

    def wanted(key: bytes) -> bool:
        owner, _, day = key.rpartition(b"|")
        return first <= day <= last and (some is None or _number(owner) in some)

    return wanted


def _number(owner: bytes) -> int | None:
    return int(owner) if owner.lstrip(b"-").isdigit() else None


async def words_of(settings: Settings, family: Family, wanted: Wanted) -> Words:
    """Read a results topic: the highest revision of each wanted key."""
    words: Words = {}
    async for records in read_to_end(settings, family.topic(settings.topics)):
        take(words, records, wanted)
    return words


def take(words: Words, records: Iterable[ConsumerRecord], wanted: Wanted) -> None:
    """Note what records say, in the order of their partition."""
    for record in records:
        key = record.key
        if key is None or not wanted(key):
            continue
        digest = dict(record.headers).get(DIGEST)
        if digest is None:
            continue
        word = Word(digest, revision_of(record), record.partition)
        held = words.get(key)
        if held is None or word.revision >= held.revision:
            words[key] = word


def compare(
    ours: Words, live: Words, prefix: Callable[[int], Revision] | None
) -> Compared:
    """Compare what a run says with what is live.

    Parameters
    ----------
    ours, live
        What both say of the same range.
    prefix
        Revision that the run has reached in a partition: all that it says and does
        not say is true at this one, whenever it was derived. None: whatever is other
        differs, whichever is newer.
    """
    found = Compared()
    for key in _keys(ours, live):
        mine, theirs = ours.get(key), live.get(key)
        there = mine is not None and mine.digest != GONE
        found.derived += there
        digest = mine.digest if mine else GONE
        if digest == (theirs.digest if theirs else GONE):
            found.unchanged += there
            continue
        if (
            prefix is not None
            and theirs is not None
            and _is_beyond(theirs.revision, prefix(theirs.partition))
        ):
            found.newer += 1
        else:
            found.differ.append(Difference(key, mine, theirs))
    return found


def _is_beyond(known: Revision, reached: Revision) -> bool:
    """Whether a record knows of anything that a prefix does not hold."""
    return any(one > other for one, other in zip(known, reached, strict=True))


def _keys(ours: Words, live: Words) -> Iterator[bytes]:
    yield from ours
    yield from (key for key in live if key not in ours)


def cell_of(key: bytes) -> tuple[str, date]:
    """Owner and session of a key."""
    owner, _, day = key.decode().rpartition("|")
    return owner, date.fromisoformat(day)
