"""How far a running application is, read from the outside.

PostgreSQL tells up to where capture has confirmed, Kafka where each log ends, the
sink's own table up to where it has written; workers of this state directory are asked
for their health. It works for any number of them, and while one of them is dead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

from aiokafka import TopicPartition

from analytics.rows import TABLES
from connectors.kafka import committed, places_of, started_admin, started_consumer
from connectors.postgres import connect
from connectors.settings import Settings
from connectors.sink import FAMILIES
from connectors.workers import workers_wait
from deltafolio.supervisor import read_status

LOOK_SECONDS = 0.1


class NotCaughtUpError(Exception):
    """It did not catch up in time: says what was still under way."""


@dataclass(frozen=True, slots=True)
class Position:
    """How many records lie in each log, and how many the sink has taken.

    Attributes
    ----------
    captured
        Records in the CDC topics: a row each, while nothing is lost or repeated.
    journal
        Records in the journal: many rows each.
    letters
        Dead letters.
    snapshots, positions, risk, symbols
        Records in the results topics.
    sunk
        Results topics' records that the sink is done with.
    """

    captured: int
    journal: int
    letters: int
    snapshots: int
    positions: int
    risk: int
    symbols: int
    sunk: int

    @property
    def published(self) -> int:
        """Records in all results topics."""
        return self.snapshots + self.positions + self.risk + self.symbols


class Gauge:
    """Reads positions; open it around a wait or a measurement.

    Examples
    --------
    >>> async with Gauge(settings) as gauge:  # doctest: +SKIP
    ...     await gauge.settle()
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._exits = AsyncExitStack()
        self._places: dict[str, list[TopicPartition]] = {}
        names = settings.topics
        self._topics = {
            "captured": [settings.cdc_topic(table) for table in TABLES],
            "journal": [names.market, names.portfolios],
            "letters": [names.deadletters],
            **{family.name: [family.topic(names)] for family in FAMILIES},
        }

    async def __aenter__(self) -> Self:
        enter = self._exits.enter_async_context
        self._consumer = await enter(started_consumer(self._settings))
        self._admin = await enter(started_admin(self._settings))
        dsn = self._settings.postgres.dsn.get_secret_value()
        self._database = await connect(dsn, "progress")
        self._exits.push_async_callback(self._database.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    async def read(self) -> Position:
        """Read every counter, in the order in which records travel."""
        counts = {name: await self._count(name) for name in self._topics}
        return Position(**counts, sunk=await self._sunk())

    async def captured_all(self, lsn: str | None = None) -> bool:
        """Whether Debezium confirmed all that is committed (or up to ``lsn``).

        It confirms what Kafka has acknowledged, so this is no guess.
        """
        return bool(
            await self._database.fetchval(
                "SELECT confirmed_flush_lsn >= $1::text::pg_lsn "
                "FROM pg_replication_slots WHERE slot_name = $2",
                lsn or await self.lsn(),
                self._settings.postgres.slot,
            )
        )

    async def streams(self) -> bool:
        """Whether Debezium reads the log: the snapshot of the tables is over.

        A slot that was just made says that all before it is confirmed, while those rows
        are still to be read. It is active while it is being made too, and confirms
        nothing then.
        """
        return bool(
            await self._database.fetchval(
                "SELECT active AND confirmed_flush_lsn IS NOT NULL "
                "FROM pg_replication_slots WHERE slot_name = $1",
                self._settings.postgres.slot,
            )
        )

    async def lsn(self) -> str:
        """Read where PostgreSQL's log ends now."""
        return str(await self._database.fetchval("SELECT pg_current_wal_lsn()::text"))

    async def waiting(self) -> str:
        """Say what is known to be under way still; empty if nothing is."""
        return await self._intake_waits() or await self._workers_wait()

    async def _intake_waits(self) -> str:
        """Compare what intake has committed with the ends of what it reads."""
        if not await self._count("captured"):
            return ""
        # Workers and intake take seconds to import, and most commands need neither.
        from streams.intake_group import group_of

        done = await committed(self._admin, group_of(self._settings))
        ends = await self._consumer.end_offsets(self._places["captured"])
        left = sum(
            end - (done[place].offset if place in done else 0)
            for place, end in ends.items()
        )
        return f"intake has {left} records to read" if left else ""

    async def _workers_wait(self) -> str:
        """Ask the workers of this state directory; where there are none, nothing.

        One that is supervised here and does not run is about to.
        """
        if not await self._count("journal"):
            return ""
        ends = await self._consumer.end_offsets(self._places["journal"])
        market = self._settings.topics.market
        portfolios = {p.partition: end for p, end in ends.items() if p.topic != market}
        home = self._settings.home
        told = await workers_wait(home, ends[TopicPartition(market, 0)], portfolios)
        if told is None and any("worker" in one.name for one in read_status(home)):
            return "a worker is starting"
        return told or ""

    async def settle(
        self,
        quiet: float = 1.0,
        limit: float = 120.0,
        say: Callable[[Position], None] | None = None,
    ) -> Position:
        """Wait until all that is committed now went the whole way and nothing moves.

        Each stage is asked after the one before it has told that nothing is left:
        capture, intake, workers, and last what is published and sunk. So what was
        committed when this was called is in the position that is returned.

        Parameters
        ----------
        quiet
            Seconds for which, besides, no counter may move.
        limit
            Seconds to wait at most.
        say
            Told each position that is read.

        Raises
        ------
        NotCaughtUpError
            When that did not happen within ``limit`` seconds.
        """
        lsn, end = "", time.monotonic() + limit
        last, since = await self.read(), time.monotonic()
        captured = False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not lsn and await self.streams():
                lsn = await self.lsn()
            captured = captured or (bool(lsn) and await self.captured_all(lsn))
            why = await self.waiting() if captured else "capture is behind"
            now = await self.read()
            if say:
                say(now)
            if now != last or why:
                last, since = now, time.monotonic()
            elif now.sunk >= now.published and time.monotonic() - since >= quiet:
                return now
            if time.monotonic() > end:
                message = f"not caught up after {limit:g} s: {why or 'sink'}; {now}"
                raise NotCaughtUpError(message)

    async def until(
        self,
        done: Callable[[Position], bool],
        limit: float,
        say: Callable[[Position], None] | None = None,
    ) -> float:
        """Wait until a position is as wanted; return when (``time.time()``) it was.

        Raises
        ------
        NotCaughtUpError
            When that did not happen within ``limit`` seconds.
        """
        end = time.monotonic() + limit
        while True:
            now = await self.read()
            at = time.time()
            if say:
                say(now)
            if done(now):
                return at
            if time.monotonic() > end:
                message = f"not there after {limit:g} s: {now}"
                raise NotCaughtUpError(message)
            await asyncio.sleep(LOOK_SECONDS)

    async def _count(self, name: str) -> int:
        """Count records in logs that are never compacted away at their end."""
        if name not in self._places:
            topics = self._topics[name]
            places = await places_of(self._admin, topics)
            if {place.topic for place in places} < set(topics):
                return 0  # not all are made yet
            self._places[name] = places
        ends = await self._consumer.end_offsets(self._places[name])
        return sum(ends.values())

    async def _sunk(self) -> int:
        names = self._settings.topics
        topics = [family.topic(names) for family in FAMILIES]
        return int(
            await self._database.fetchval(
                "SELECT coalesce(sum(next_offset), 0) FROM analytics.sink_offsets "
                "WHERE topic = any($1)",
                topics,
            )
        )
