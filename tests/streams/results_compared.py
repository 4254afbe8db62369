"""Results topics beside the truth, cell by cell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from analytics.calendar import Calendar
from analytics.results import ALL_FAMILIES, Revision
from connectors.kafka import read_to_end
from connectors.settings import Settings
from streams.record import Said, SaidReader

Cell = tuple[str, int | str, int]

STRANGER = int.from_bytes(b"stranger")
"""Digest of records that a test wrote in somebody else's name."""


@dataclass
class Differences:
    """Cells compared, and what is wrong with them."""

    cells: int = 0
    records: int = 0
    wrong_last: list[Cell] = field(default_factory=list)
    wrong_highest: list[Cell] = field(default_factory=list)
    two_contents: list[tuple[Cell, Revision]] = field(default_factory=list)

    def none(self) -> bool:
        return not (self.wrong_last or self.wrong_highest or self.two_contents)


async def compare(
    settings: Settings, calendar: Calendar, expected: Mapping[Cell, int]
) -> Differences:
    """Compare what the topics hold with the digest that each cell must have."""
    found = Differences(cells=len(expected))
    for family in ALL_FAMILIES:
        topic = Topic(family)
        reader = SaidReader(calendar)
        async for records in read_to_end(settings, getattr(settings.topics, family)):
            for record in records:
                said = reader.said(family, record.key, record.headers)
                if said is not None:
                    topic.take(said)
        topic.compare({c: d for c, d in expected.items() if c[0] == family}, found)
    return found


class Topic:
    """What the readers of one results topic hold."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.records = 0
        self.last: dict[Cell, int] = {}
        self.highest: dict[Cell, tuple[Revision, int]] = {}
        self.contents: dict[tuple[Cell, Revision], set[int]] = defaultdict(set)

    def take(self, said: Said) -> None:
        cell = (self.family, said.owner, said.session)
        self.records += 1
        self.last[cell] = said.digest
        if said.digest != STRANGER:
            self.contents[cell, said.revision].add(said.digest)
        if cell not in self.highest or said.revision >= self.highest[cell][0]:
            self.highest[cell] = (said.revision, said.digest)

    def compare(self, expected: Mapping[Cell, int], found: Differences) -> None:
        found.records += self.records
        for cell in expected.keys() | self.last.keys():
            digest = expected.get(cell, 0)
            if self.last.get(cell, 0) != digest:
                found.wrong_last.append(cell)
            if cell in self.highest and self.highest[cell][1] != digest:
                found.wrong_highest.append(cell)
        several = (key for key, each in self.contents.items() if len(each) > 1)
        found.two_contents += several
