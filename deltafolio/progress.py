"""How far a running application is, read from the outside.

PostgreSQL tells up to where capture has confirmed, Kafka where each log ends, and the
sink's own table up to where it has written. Nothing is asked of the processes, so it
works for any number of them, wherever they run, and while one of them is dead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from analytics.rows import TABLES
from connectors.postgres import Connection, connect
from connectors.settings import Settings

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
    snapshots, positions
        Records in the results topics.
    sunk
        Results topics' records that the sink is done with.
    """

    captured: int
    journal: int
    letters: int
    snapshots: int
    positions: int
    sunk: int

    @property
    def published(self) -> int:
        """Records in all results topics."""
        return self.snapshots + self.positions


class Gauge:
    """Reads positions; open it around a wait or a measurement.

    Examples
    --------
    >>> async with Gauge(settings) as gauge:  # doctest: +SKIP
    ...     await gauge.settle()
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka.bootstrap, enable_auto_commit=False
        )
        self._database: Connection | None = None
        names = settings.topics
        every = range(names.partitions)
        self._logs: dict[str, list[TopicPartition]] = {
            "captured": [
                TopicPartition(settings.cdc_topic(table), p)
                for table in TABLES
                for p in every
            ],
            "journal": [
                TopicPartition(names.market, 0),
                *(TopicPartition(names.portfolios, p) for p in every),
            ],
            "letters": [TopicPartition(names.deadletters, 0)],
            "snapshots": [TopicPartition(names.snapshots, p) for p in every],
            "positions": [TopicPartition(names.positions, p) for p in every],
        }

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        dsn = self._settings.postgres.dsn.get_secret_value()
        self._database = await connect(dsn, "progress")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()
        if self._database:
            await self._database.close()

    async def read(self) -> Position:
        """Read every counter, in the order in which records travel."""
        counts = {name: await self._count(logs) for name, logs in self._logs.items()}
        return Position(**counts, sunk=await self._sunk())

    async def captured_all(self, lsn: str | None = None) -> bool:
        """Whether Debezium confirmed all that is committed (or up to ``lsn``).

        It confirms what Kafka has acknowledged, so this is no guess.
        """
        assert self._database  # noqa: S101 - opened
        return bool(
            await self._database.fetchval(
                "SELECT confirmed_flush_lsn >= $1::text::pg_lsn "
                "FROM pg_replication_slots WHERE slot_name = $2",
                lsn or await self.lsn(),
                self._settings.postgres.slot,
            )
        )

    async def lsn(self) -> str:
        """Read where PostgreSQL's log ends now."""
        assert self._database  # noqa: S101 - opened
        return str(await self._database.fetchval("SELECT pg_current_wal_lsn()::text"))

    async def settle(
        self,
        quiet: float = 1.0,
        limit: float = 120.0,
        say: Callable[[Position], None] | None = None,
    ) -> Position:
        """Wait until all that is committed now went the whole way and nothing moves.

        Parameters
        ----------
        quiet
            Seconds for which no counter may move.
        limit
            Seconds to wait at most.
        say
            Told each position that is read.

        Raises
        ------
        NotCaughtUpError
            When that did not happen within ``limit`` seconds.
        """
        lsn, end = await self.lsn(), time.monotonic() + limit
        last, since = await self.read(), time.monotonic()
        captured = False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            captured = captured or await self.captured_all(lsn)
            now = await self.read()
            if say:
                say(now)
            if now != last or not captured:
                last, since = now, time.monotonic()
            elif now.sunk >= now.published and time.monotonic() - since >= quiet:
                return now
            if time.monotonic() > end:
                message = f"not caught up after {limit:g} s: {now}, {captured=}"
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

    async def _count(self, partitions: list[TopicPartition]) -> int:
        """Count records in logs that are never cut; those not made yet have none."""
        there = [p for p in partitions if self._consumer.partitions_for_topic(p.topic)]
        if len(there) < len(partitions):
            await self._consumer.topics()  # asks the brokers again
            there = [
                p for p in partitions if self._consumer.partitions_for_topic(p.topic)
            ]
        if not there:
            return 0
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(there)
        return sum(ends.values())

    async def _sunk(self) -> int:
        assert self._database  # noqa: S101 - opened
        names = self._settings.topics
        return int(
            await self._database.fetchval(
                "SELECT coalesce(sum(next_offset), 0) FROM analytics.sink_offsets "
                "WHERE topic = any($1)",
                [names.snapshots, names.positions],
            )
        )
