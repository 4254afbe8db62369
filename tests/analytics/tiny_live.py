"""Engines at work in the tiny world, a reader of what they say, and the oracle."""

import json
import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings

from analytics.batch import derive
from analytics.batch.compare import Comparison
from analytics.engine import Engine
from analytics.results import MONEY_FAMILIES, Result
from analytics.rows import Change
from tests.analytics.tiny_world import CALENDAR, Transaction, World

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
drawn = settings(
    max_examples=2000 if LONG else 40,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
Key = tuple[str, int, int]
Make = Callable[[], Engine]
Law = Callable[[list[Transaction], Make, Random], None]


def whole() -> Engine:
    """The engine, unbroken."""
    return Engine(CALENDAR, families=MONEY_FAMILIES)


@dataclass
class Said:
    """What a reader of the topics holds: the newest record of each key."""

    records: dict[Key, bytes] = field(default_factory=dict)

    def take(self, results: Iterable[Result]) -> list[Key]:
        """Read results; each says something new, and each key once a time."""
        seen: list[Key] = []
        for result in results:
            key = (result.family, result.owner, result.session)
            assert key not in seen, f"{key} said twice at a time"
            assert result.content != self.records.get(key), f"{key} says nothing new"
            seen.append(key)
            if result.content is None:
                del self.records[key]
            else:
                self.records[key] = result.content
        return sorted(seen)

    def numbers(self) -> dict[Key, Any]:
        """Records without what depends on the way of the changes."""
        found = {key: json.loads(content) for key, content in self.records.items()}
        for record in found.values():
            del record["status"]
            record.get("quality", {}).pop("partial", None)
        return found


@dataclass
class Live:
    """An engine that owns every partition, and its reader."""

    engine: Engine
    partitions: int = 2
    said: Said = field(default_factory=Said)
    offsets: dict[int | None, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for partition in range(self.partitions):
            self.engine.add_partition(partition)

    def logs(self, changes: Iterable[Change]) -> dict[int | None, list[Change]]:
        """Changes by the log they go to; None is the market's."""
        logs: dict[int | None, list[Change]] = {}
        for change in changes:
            owner = change.portfolio
            log = None if owner is None else owner % self.partitions
            logs.setdefault(log, []).append(change)
        return logs

    def append(self, log: int | None, record: list[Change], **flags: Any) -> None:
        """Fold one record of a log."""
        offset = self.offsets[log] = self.offsets.get(log, 0) + 1
        if log is None:
            self.engine.fold_market(record, next_offset=offset, **flags)
        else:
            self.engine.fold_partition(log, record, next_offset=offset, **flags)

    def fold(self, changes: Iterable[Change]) -> None:
        """Fold changes, a record each log."""
        for log, record in self.logs(changes).items():
            self.append(log, record)

    def derive(
        self, families: Collection[str] = MONEY_FAMILIES, limit: int | None = None
    ) -> list[Key]:
        """Derive, and let the reader read."""
        return self.said.take(self.engine.derive(families, limit))


def compare(world: World, said: Said) -> Comparison:
    """What the reader holds beside what the oracle says."""
    result = Comparison()
    expected: dict[Key, Any] = {}
    for owner, session, snapshot, positions in derive(world.rows(), CALENDAR):
        expected["snapshots", owner, session] = snapshot
        expected["positions", owner, session] = positions
    for key in sorted(expected.keys() | said.records.keys()):
        family, owner, session = key
        content = said.records.get(key)
        found = None if content is None else json.loads(content, parse_float=Decimal)
        day = CALENDAR.iso(session)
        result.record(family, owner, day, expected.get(key), found)
    return result


def changes_of(history: list[Transaction]) -> list[Change]:
    """Every change that a history causes, in order."""
    world = World()
    return list(chain.from_iterable(world.commit(step) for step in history))
