"""A Kafka in memory around the door, with crashes between any two writes.

The slow answer is here too: what the journal must hold is read off the rows directly.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from analytics.calendar import Calendar
from analytics.rows import TABLES, Change
from connectors.debezium import decode
from connectors.journal import Batch
from connectors.journal import decode as decode_journal
from connectors.settings import IntakeSettings, Settings, TopicSettings
from streams.door import Door
from streams.holdback import Holdback
from streams.intake_stats import IntakeStats
from streams.ledger import Ledger
from tests.connectors.envelopes import EPOCH, MONDAY, envelope, marker, to_bytes

DAYS = [EPOCH + MONDAY + day for day in range(40)]
CALENDAR = Calendar(DAYS, [0] * 40, DAYS[0], DAYS[-1])
SETTINGS = Settings(
    topics=TopicSettings(partitions=3),
    intake=IntakeSettings(rows_per_record=4, rows_held=12, transaction_wait_ms=1000),
)
ENDS = TopicPartition(SETTINGS.transaction_topic, 0)
PLACES = [*(TopicPartition(SETTINGS.cdc_topic(t), 0) for t in TABLES), ENDS]


class CrashError(Exception):
    """The process died here."""


def record(offset: int, value: bytes, headers: tuple[Any, ...] = ()) -> Any:
    return SimpleNamespace(
        offset=offset, value=value, headers=headers, key=b"k", timestamp=0
    )


@dataclass
class Source:
    """Debezium: transactions, one after the other, spread over the topics."""

    chance: random.Random
    logs: dict[TopicPartition, list[Any]] = field(
        default_factory=lambda: {place: [] for place in PLACES}
    )
    script: list[tuple[TopicPartition, bytes]] = field(default_factory=list)
    streamed: int = 0
    commit: int = 1_000
    tx: int = 700

    def transaction(self, rows: int) -> None:
        """Commit a transaction; it is not streamed yet."""
        self.tx += 1
        end = self.commit + 10 * rows + 5
        begin = to_bytes(marker("BEGIN", self.tx, self.commit, None))
        self.script.append((ENDS, begin))
        self.script += [self._row(order) for order in range(1, rows + 1)]
        self.script.append((ENDS, to_bytes(marker("END", self.tx, end, rows))))
        self.commit = end

    def snapshot(self, rows: int) -> None:
        for _ in range(rows):
            # Each from another snapshot: one snapshot reads a row once.
            self.commit += 1
            self.script.append(self._row(0))

    def stream(self, records: int) -> None:
        """Send the next records to Kafka."""
        for place, value in self.script[self.streamed : self.streamed + records]:
            log = self.logs[place]
            log.append(record(len(log), value))
        self.streamed = min(self.streamed + records, len(self.script))

    def die(self, back: int) -> None:
        """Crash: what was sent last will be sent again."""
        self.streamed = max(0, self.streamed - back)

    def _row(self, order: int) -> tuple[TopicPartition, bytes]:
        chance = self.chance
        if chance.random() < 0.5:
            table, row = (
                "portfolios",
                {
                    "id": chance.randrange(1, 5),
                    "name": "p",
                    "inception_date": None,
                    "equity_balance": chance.choice(["1", "2", "NAN"]),
                    "deleted_at": chance.choice([None, None, "2024-01-01T00:00:00Z"]),
                },
            )
        else:
            table, row = (
                "market_data_cache",
                {
                    "symbol": chance.choice("AB"),
                    "date": MONDAY + chance.choice([0, 1, 35]),
                    "close": chance.choice(["1", "2", "-1"]),
                    "adj_close": None,
                },
            )
        lsn = self.commit + 10 * order
        message = envelope(
            "u" if order else "r",
            table,
            after=row,
            commit=self.commit,
            lsn=lsn,
            tx=self.tx if order else None,
            order=order,
        )
        return TopicPartition(SETTINGS.cdc_topic(table), 0), to_bytes(message)


@dataclass
class Target:
    """What survives a crash: the journal, the compacted topics, the offsets."""

    journal: dict[TopicPartition, list[bytes]] = field(
        default_factory=lambda: defaultdict(list)
    )
    letters: dict[bytes, bytes] = field(default_factory=dict)
    held: dict[bytes, bytes] = field(default_factory=dict)
    committed: dict[TopicPartition, OffsetAndMetadata] = field(default_factory=dict)


class Run:
    """One process, from the committed offsets until it dies or all is done."""

    def __init__(self, source: Source, target: Target, today: int, door: Any = Door):
        self.source, self.target, self.today = source, target, today
        self.clock = 0.0
        holdback = Holdback(today - 1)
        for key, value in target.held.items():
            holdback.restore(value, key)
        starts = {place: 0 for place in PLACES if place not in target.committed}
        ledger = Ledger(dict(target.committed), starts, ENDS)
        self.door = door(SETTINGS, CALENDAR, ledger, holdback, IntakeStats())
        self.door.tick(0.0, today, caught_up=False)

    def read(self, place: TopicPartition, count: int) -> None:
        start = self.door.ledger.next(place)
        for one in self.source.logs[place][start : start + count]:
            self.door.take(place, one, self.clock)

    def is_caught_up(self) -> bool:
        ledger, logs = self.door.ledger, self.source.logs
        return all(ledger.next(place) == len(logs[place]) for place in PLACES)

    def tick(self, seconds: float) -> None:
        self.clock += seconds
        self.door.tick(self.clock, self.today, caught_up=self.is_caught_up())

    def write(self, steps: float = float("inf")) -> None:
        """Write what is due; die after so many writes."""
        left = steps

        def count() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise CrashError

        writes = self.door.drain()
        if writes.announce:
            count()
            self._commit(self.door.announcement())
        for key, value in writes.letters:
            count()
            self.target.letters[key] = value or b""
        for key, value in writes.held:
            count()
            self.target.held[key] = value or b""
        for made in writes.journal:
            count()
            self.target.journal[made.place].append(made.value)
        for key, _ in writes.forget_held:
            count()
            self.target.held.pop(key, None)

    def commit(self) -> None:
        self._commit(self.door.committable())

    def _commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self.target.committed.update(offsets)
        self.door.ledger.commit_done(offsets)

    def finish(self) -> None:
        """Read all, wait long enough, write, commit."""
        while not self.is_caught_up():
            for place in PLACES:
                self.read(place, 1_000)
        self.tick(0.1)
        self.tick(9.0)
        self.write()
        self.commit()


def random_life(seed: int, door: Any = Door, crashes: int = 3) -> tuple[Source, Target]:
    """A source that goes on, an intake that dies now and then, and a quiet end."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, no secret
    source, target = Source(chance), Target()
    today = DAYS[10]
    for _ in range(crashes):
        run = Run(source, target, today, door)
        try:
            for _ in range(chance.randrange(2, 16)):
                happen(source, chance)
                act(run, chance)
        except CrashError:
            continue
    source.stream(len(source.script))
    today = chance.choice([today, DAYS[-1]])
    Run(source, target, today, door).finish()
    # A successor with nothing to do must find nothing to do.
    Run(source, target, today, door).finish()
    return source, target


def happen(source: Source, chance: random.Random) -> None:
    """One thing that PostgreSQL or Debezium does."""
    what = chance.randrange(6)
    if what <= 1:
        source.transaction(chance.choice([1, 1, 2, 3, 9, 40]))
    elif what == 2:
        source.snapshot(chance.randrange(4))
    elif what == 3 and chance.random() < 0.3:
        source.die(chance.randrange(1, 8))
    source.stream(chance.choice([0, 1, 3, 8, 100]))


def act(run: Run, chance: random.Random) -> None:
    """One thing that intake does."""
    what = chance.randrange(6)
    if what <= 2:
        for place in chance.sample(PLACES, len(PLACES)):
            run.read(place, chance.choice([0, 1, 3, 50, 50]))
    elif what == 3:
        run.tick(chance.choice([0.1, 2.0, 2.0]))
    else:
        run.write(chance.choice([0, 1, 2, 3, 1_000, 1_000, 1_000, 1_000]))
        if chance.random() < 0.5:
            run.commit()


def newest(changes: Any) -> dict[Any, Change]:
    """Last version of each row."""
    found: dict[Any, Change] = {}
    for change in changes:
        key = (change.table, change.key, change.portfolio)
        if key not in found or change.version > found[key].version:
            found[key] = change
    return found


def faults_of(source: Source, target: Target) -> list[str]:
    """What is wrong with a life that ended in rest; empty when nothing is."""
    batches = {
        place: [decode_journal(value) for value in values]
        for place, values in target.journal.items()
    }
    faults = [
        f"{tx} is still a part in {place}"
        for place, found in batches.items()
        for tx in open_parts(found)
    ]
    read = [one for place in PLACES[:-1] for one in source.logs[place]]
    made = [decode(one.value, CALENDAR) for one in read]
    written = newest(c for found in batches.values() for b in found for c in b.changes)
    wanted = newest(change for one in made for change in one.changes)
    for key in target.held:
        day, symbol = key.decode().split("|")
        wanted.pop(("market_data_cache", (symbol, int(day)), None), None)
        written.pop(("market_data_cache", (symbol, int(day)), None), None)
    if written != wanted:
        faults.append("rows differ")
    if len(target.letters) != sum(one.refused is not None for one in made):
        faults.append("letters differ")
    ends = {place: at.offset for place, at in target.committed.items()}
    if ends != {place: len(log) for place, log in source.logs.items()}:
        faults.append("not committed to the end")
    return faults


def open_parts(batches: list[Batch]) -> set[str | None]:
    """Transactions of which a log has parts and was not told the end."""
    parts = set()
    for batch in batches:
        if batch.partial:
            parts.add(batch.tx)
        elif not batch.more:
            parts.discard(batch.tx)
    return parts
