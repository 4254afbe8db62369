"""A stack, a world on it, and what is compared after each run."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec
from aiokafka import TopicPartition
from pydantic import SecretStr

from analytics.factors import Factors, Window
from analytics.results import ALL_FAMILIES
from connectors.check import check_until
from connectors.deadletters import read_letters
from connectors.exchange import exchange_today
from connectors.kafka import places_of, started_admin, started_consumer
from connectors.postgres import connect
from connectors.reconcile import reconcile_until
from connectors.settings import Settings
from connectors.stack import StackInfo
from deltafolio.loading import load
from deltafolio.progress import Gauge, NotCaughtUpError
from deltafolio.supervisor import Supervisor, process_names
from tests.faults.matrix import process
from tests.faults.matrix.database import (
    DAYS,
    LIVE,
    NEWEST,
    SENTINEL,
    SENTINELS,
    UNIVERSE,
    Database,
)
from tests.faults.matrix.disk import small_disk
from tests.faults.matrix.network import Network
from tests.faults.matrix.process import CLOCK, PLANT, set_clock
from tests.worlds import World, calendar_of, opened, world_settings

WORKERS = 2
FRESH_LIMIT_S = 60.0
SETTLE_LIMIT_S = 120.0
COMPARE_LIMIT_S = 20.0
LOOK_S = 0.05
LAST_WORDS = 2500

FACTORS = Factors(
    history=6,
    beta=Window(12, 6),
    spread=Window(14, 8),
    ridge=Window(12, 6),
    volatility=(Window(5, 4), Window(10, 7)),
    har_window=20,
    har_week=2,
    har_month=4,
    har_horizon=2,
    har_minimum=6,
    trend=Window(5, 4),
    percentile=Window(10, 7),
    correlation=Window(12, 6),
    symbol_sessions=12,
)
"""Windows so short that a dozen sessions have every statistic."""


@dataclass(slots=True)
class Verdict:
    """What was found after a run.

    Attributes
    ----------
    cells, wrong
        Cells compared with the oracle, and those that differ; with them cells of which
        the last record on the topic is not the one of the highest revision.
    lost
        Rows that the journal lacks, has beside, or has otherwise.
    conflicting
        Revisions of a cell that were published with two contents.
    falling
        Records of a lower revision than one before them in their partition: two wrote
        there at a time. A worker that sleeps may, and whoever has the partition mends
        it; so it is no harm by itself.
    why
        What to look at; empty if all is well.
    """

    cells: int = 0
    wrong: int = 0
    lost: int = 0
    conflicting: int = 0
    falling: int = 0
    why: list[str] = field(default_factory=list)


class FoundError(Exception):
    """A comparison found something.

    Attributes
    ----------
    verdict
        What.
    """

    def __init__(self, verdict: Verdict, story: str = "") -> None:
        self.verdict = verdict
        super().__init__("\n".join((*verdict.why, story)))


class Said:
    """The results topics, read on from where the last look ended."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._at: dict[TopicPartition, int] = {}
        self._digests: dict[tuple[str, bytes], dict[bytes, bytes]] = defaultdict(dict)
        self._last: dict[tuple[str, bytes], bytes] = {}
        self._highest: dict[tuple[str, int], tuple[int, ...]] = {}

    async def look(self, verdict: Verdict) -> None:
        """Read what came; note contradictions."""
        names = [getattr(self._settings.topics, family) for family in ALL_FAMILIES]
        async with started_admin(self._settings) as admin:
            places = await places_of(admin, names)
        async with started_consumer(self._settings, group_id=None) as consumer:
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            for place in places:
                consumer.seek(place, self._at.get(place, 0))
            while any(self._at.get(p, 0) < end for p, end in ends.items()):
                found = await consumer.getmany(timeout_ms=100)
                for place, records in found.items():
                    for record in records:
                        self._take(record, verdict)
                    self._at[place] = await consumer.position(place)
        for cell, last in self._last.items():
            highest = max(self._digests[cell], key=_revision)
            if last != highest:
                verdict.wrong += 1
                verdict.why.append(f"{cell}: last is {last!r}, highest {highest!r}")

    def _take(self, record, verdict: Verdict) -> None:
        cell = (record.topic, record.key)
        revision = dict(record.headers)["r"]
        digest = _content(record.value)
        known = self._digests[cell].setdefault(revision, digest)
        if known != digest:
            verdict.conflicting += 1
            verdict.why.append(f"{cell} has two contents at revision {revision!r}")
        self._last[cell] = revision
        place, number = (record.topic, record.partition), _revision(revision)
        if number < self._highest.setdefault(place, number):
            verdict.falling += 1
        self._highest[place] = max(number, self._highest[place])


def _content(value: bytes) -> bytes:
    """Digest of what a record says, without the story of how it came to it."""
    body = msgspec.json.decode(value)
    for name in ("cause", "previous"):
        body.pop(name, None)
    encoded = msgspec.json.encode(body, order="sorted")
    return hashlib.blake2b(encoded, digest_size=16).digest()


def _revision(text: bytes) -> tuple[int, ...]:
    return tuple(map(int, text.split(b",")))


class Rig:
    """Everything a run needs: the network, the world, the database, the comparison.

    Attributes
    ----------
    network
        The stack and what is before it.
    world, direct
        The application; its settings without proxies.
    db
        Source rows and results, without proxies.
    events
        What the supervisor said.
    mistakes
        Ids of lots that were refused: of each there must be a dead letter.
    clock
        File that makes the processes' clock wrong.
    """

    def __init__(self, network: Network, home: Path, plant: str = "") -> None:
        settings = world_settings(network.through, home, families=ALL_FAMILIES)
        settings = settings.model_copy(update={"factors": FACTORS})
        self.network = network
        self.stack = network.stack
        self.world = World(settings, WORKERS)
        self.direct = _reaching(settings, network.direct)
        self.db = self.hands()
        self.said = Said(self.direct)
        self.events: list[str] = []
        self._failures: list[str] = []
        self._asked: set[str] = set()
        self.mistakes: set[int] = set()
        self.clock = home / f"{settings.worker.app_id}.clock"
        set_clock(self.clock, 0)
        self.world.app.supervisor = Supervisor(
            settings.home,
            process_names(WORKERS),
            self._note,
            command=_command,
            environment=os.environ | {CLOCK: str(self.clock), PLANT: plant},
        )

    def hands(self) -> Database:
        """Open another pair of hands on the database."""
        dsn = self.direct.postgres.dsn.get_secret_value()
        return Database(dsn, self.direct.home)

    @property
    def supervisor(self) -> Supervisor:
        return self.world.app.supervisor

    def failures(self) -> list[str]:
        """Which processes gave up so far, and with what last words."""
        return list(self._failures)

    def _note(self, event: str) -> None:
        self.events.append(event)
        name = event.split()[0].rstrip(":")
        if event.endswith("SIGTERM"):
            self._asked.add(name)
        elif "exit code 0" in event and name in self._asked:
            self._asked.remove(name)
        elif "exit code" in event:
            log = self.world.app.log(name)
            self._failures.append(f"{event}\n{log[-LAST_WORDS:]}")

    async def load(self) -> None:
        connection = await connect(self.direct.postgres.dsn.get_secret_value(), "test")
        try:
            await load(connection, UNIVERSE.tables)
        finally:
            await connection.close()
        await self.db.together(
            (
                "INSERT INTO market_data_cache (symbol, date, close) "
                "SELECT $1, date, 10 FROM unnest($2::date[]) AS date",
                SENTINEL,
                DAYS,
            ),
            (
                "INSERT INTO portfolios (id, name, inception_date, equity_balance) "
                "SELECT id, 'sentinel', $1, 1000 FROM unnest($2::bigint[]) AS id",
                LIVE[0],
                SENTINELS,
            ),
            (
                "INSERT INTO positions (portfolio_id, symbol, position_type, "
                "investment_class, quantity, entry_price, entry_date) "
                "SELECT id, $1, 'LONG', 'PUBLIC', 1, 10, $2 "
                "FROM unnest($3::bigint[]) AS id",
                SENTINEL,
                LIVE[0],
                SENTINELS,
            ),
        )

    async def seconds_to_fresh(self) -> float:
        """Commit a price of the sentinels' symbol; wait for its results.

        Seconds until PostgreSQL has the newest session of each of them as of then;
        infinity if that did not come.
        """
        began = time.monotonic()
        committed: datetime = await self.db.do(
            lambda connection: connection.fetchval(
                "WITH moved AS (UPDATE market_data_cache SET close = close + 0.01 "
                "WHERE date = $1 AND symbol = $2) SELECT now()",
                NEWEST,
                SENTINEL,
            )
        )
        while True:
            fresh = await self.db.column(
                "SELECT count(*) FROM analytics.portfolio_snapshots "
                "WHERE session = $1 AND portfolio_id = ANY($2) AND as_of >= $3",
                NEWEST,
                SENTINELS,
                committed,
            )
            seconds = time.monotonic() - began
            if fresh[0] == len(SENTINELS):
                return seconds
            if seconds > FRESH_LIMIT_S:
                return float("inf")
            await asyncio.sleep(LOOK_S)

    async def verdict(self) -> Verdict:
        """Wait until nothing moves, then compare everything."""
        verdict = Verdict()
        try:
            async with Gauge(self.direct) as gauge:
                await gauge.settle(0.5, SETTLE_LIMIT_S)
        except NotCaughtUpError as error:
            verdict.why.append(str(error))
        await self._compare(verdict)
        await self._reconcile(verdict)
        await self._letters(verdict)
        await self.said.look(verdict)
        return verdict

    async def _compare(self, verdict: Verdict) -> None:
        settings = self.direct
        found = await check_until(
            settings.postgres.dsn.get_secret_value(),
            settings.postgres.source_schema,
            calendar_of(settings),
            today=exchange_today(settings.calendar.name),
            wait=COMPARE_LIMIT_S,
            factors=settings.factors,
            families=settings.worker.families,
        )
        verdict.cells, verdict.wrong = found.cells, found.differ
        if found.differ:
            verdict.why.append(f"{found.differ} cells differ, first {found.first}")

    async def _reconcile(self, verdict: Verdict) -> None:
        calendar = calendar_of(self.direct)
        found = await reconcile_until(self.direct, calendar, COMPARE_LIMIT_S)
        verdict.lost = found.differ
        verdict.why += [f"{one}" for one in found.differing]

    async def _letters(self, verdict: Verdict) -> None:
        """Look for the letter of each mistake."""
        found = {letter.row for letter in await read_letters(self.direct)}
        missing = [lot for lot in self.mistakes if (lot,) not in found]
        verdict.lost += len(missing)
        verdict.why += [f"no dead letter of lot {lot}" for lot in missing]


def _reaching(settings: Settings, info: StackInfo) -> Settings:
    """Settings that reach the same world another way."""
    address = urlsplit(info.dsn)
    dsn = urlsplit(settings.postgres.dsn.get_secret_value())
    plain = SecretStr(urlunsplit(dsn._replace(netloc=address.netloc)))
    return settings.model_copy(
        update={
            "postgres": settings.postgres.model_copy(update={"dsn": plain}),
            "kafka": settings.kafka.model_copy(update={"bootstrap": info.bootstrap}),
        }
    )


def _command(name: str) -> list[str]:
    verb = name.split("-", maxsplit=1)[0]
    return [sys.executable, process.__file__, "run", verb]


@asynccontextmanager
async def open_rig(network: Network, home: Path, plant: str = "") -> AsyncIterator[Rig]:
    """Open a world on a running stack, loaded and compared."""
    rig = Rig(network, home, plant)
    with small_disk(rig.world.settings.home):
        async with opened(network.direct, rig.world):
            try:
                await rig.load()
                first = await rig.verdict()
                if first.why:
                    raise FoundError(first, rig.world.story())
                yield rig
            finally:
                await rig.db.close()
