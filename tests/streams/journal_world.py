"""Worlds that begin with the journal: topics, a seeded writer, worker processes.

The truth is a fresh engine over the whole journal, read back from Kafka; what the
results topics hold is compared with it twice: the last record of each key (what
compaction keeps) and the highest revision of each key (what consumers keep).
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from analytics.calendar import Calendar
from analytics.engine import Engine
from analytics.factors import Factors, Spread, Style
from analytics.rows import Change, Flow, Lot, Portfolio, Price, Row, Version
from connectors.calendar import load_calendar
from connectors.journal import decode, encode, partition_of
from connectors.kafka import read_to_end, started_producer
from connectors.settings import (
    KafkaSettings,
    Settings,
    TopicSettings,
    WorkerSettings,
)
from connectors.topics import ensure_topics
from streams.parts import make_engine
from streams.worker import changelog
from tests.streams.results_compared import Cell, Differences, compare
from tests.streams.worker_process import WorkerProcess

PARTITIONS = 4
_numbers = itertools.count(1)


def settings_for(bootstrap: str, home: Path, **worker: object) -> Settings:
    """Settings in which every name is this world's own; failover is fast.

    The first symbols of the world are its market and its styles.
    """
    name = f"j{next(_numbers)}"
    topics = {
        key: f"{name}.{value}"
        for key, value in TopicSettings().model_dump().items()
        if isinstance(value, str)
    }
    chosen = {"session_timeout_s": 3.0, "checkpoint_s": 0.7, "conflate_ms": 100}
    return Settings(
        home=home / name,
        kafka=KafkaSettings(bootstrap=bootstrap),
        topics=TopicSettings(partitions=PARTITIONS, **topics),
        worker=WorkerSettings(app_id=name, **{**chosen, **worker}),
        factors=Factors(
            market="S0",
            interest_rate="S1",
            styles=(Style("First", "S0"), Style("Second", "S1")),
            spreads=(Spread("S0", "S1"),),
        ),
    )


class JournalWorld:
    """A journal with a writer; workers are started on it by the test."""

    def __init__(
        self, settings: Settings, producer: AIOKafkaProducer, seed: int = 1
    ) -> None:
        self.settings = settings
        self.random = Random(seed)  # noqa: S311 - seeded, not secret
        dates = settings.calendar
        self.calendar: Calendar = load_calendar(dates.name, dates.start, dates.end)
        self.workers: list[WorkerProcess] = []
        self.offsets = settings.home / "offsets"
        self.offsets.mkdir(parents=True)
        self._producer = producer
        self._order = itertools.count(int(time.time()) * 1_000_000)
        self._lots: dict[int, Lot] = {}
        self._ids = itertools.count(1)
        self._days: list[int] = []
        self._symbols: list[str] = []

    # --- the journal ---

    async def load(self, portfolios: int, sessions: int, symbols: int) -> None:
        """Prices of some sessions, and portfolios with a few lots."""
        last = self.calendar.backward(date(2022, 6, 30).toordinal())
        self._days = self.calendar.days[last - sessions + 1 : last + 1]
        self._symbols = [f"S{i}" for i in range(symbols)]
        every = [self._price(s, d) for d in self._days for s in self._symbols]
        for start in range(0, len(every), 200):
            await self._market(every[start : start + 200])
        for portfolio in range(1, portfolios + 1):
            rows = [
                self._change((portfolio,), portfolio, self._portfolio(portfolio)),
                *(self._new_lot(portfolio) for _ in range(3)),
            ]
            await self._write(portfolio, rows)

    async def come_to_rest(self) -> None:
        """A few portfolios, a worker that publishes all of them, and stops."""
        await self.load(portfolios=12, sessions=10, symbols=8)
        await self.start_worker().ready()
        for _ in range(20):
            await self.disturb()
        assert (await self.settle()).none()
        await self.stop_workers()

    async def tick(self, rows: int = 3) -> None:
        """New closes of the newest session."""
        symbols = self.random.sample(self._symbols, rows)
        await self._market([self._price(s, self._days[-1]) for s in symbols])

    async def close_everything_at(self, close: int) -> None:
        """Set every close of the newest session to one value."""
        day = self._days[-1]
        await self._market([self._price(s, day, close) for s in self._symbols])

    async def disturb(self) -> None:
        """One random transaction: a late price, or something about portfolios."""
        if self.random.random() < 0.3:
            day = self.random.choice(self._days)
            await self._market([self._price(self.random.choice(self._symbols), day)])
            return
        lot = self.random.choice(list(self._lots.values()))
        kind = self.random.choice(("new", "restate", "delete", "flow"))
        if kind == "new":
            change = self._new_lot(lot.portfolio)
        elif kind == "restate":
            change = self._lot(lot.id, lot.portfolio)
        elif kind == "delete":
            change = self._change((lot.id,), lot.portfolio, None, "positions")
        else:
            flow = Flow(next(self._ids), lot.portfolio, self._amount(), self._days[3])
            change = self._change((flow.id,), lot.portfolio, flow)
        await self._write(lot.portfolio, [change])

    async def garbage(self) -> None:
        """A record nobody can read, in each log."""
        topics = self.settings.topics
        for topic in (topics.market, topics.portfolios):
            await self._producer.send_and_wait(topic, b"\xc1", partition=0)

    async def keep_busy(self, until: asyncio.Event, per_second: float = 100) -> None:
        """Ticks, and every fifth time a random transaction."""
        for i in itertools.count():
            if until.is_set():
                return
            await (self.disturb() if i % 5 == 0 else self.tick())
            await asyncio.sleep(1 / per_second)

    def _portfolio(self, portfolio: int) -> Portfolio:
        return Portfolio(portfolio, f"p{portfolio}", 1_000_000_0000, None)

    def _new_lot(self, portfolio: int) -> Change:
        return self._lot(next(self._ids), portfolio)

    def _lot(self, ident: int, portfolio: int) -> Change:
        lot = self._lots[ident] = Lot(
            id=ident,
            portfolio=portfolio,
            symbol=self.random.choice(self._symbols),
            type="LONG",
            klass="PUBLIC",
            quantity=self.random.randrange(1, 100) * 10_000,
            entry_price=50_000_000,
            entry=self.random.choice(self._days[: len(self._days) // 2]),
            exit_price=None,
            exit=None,
            underlying=None,
            strike=None,
            expiry=None,
            last_price=None,
        )
        return self._change((ident,), portfolio, lot)

    def _price(self, symbol: str, day: int, close: int = 0) -> Change:
        close = close or self.random.randrange(10_000_000, 200_000_000)
        return self._change((symbol, day), None, Price(symbol, day, close, None))

    def _amount(self) -> int:
        return self.random.randrange(-100, 100) * 10_000 + 1

    def _change(
        self,
        key: tuple[int | str, ...],
        portfolio: int | None,
        row: Row | None,
        table: str = "",
    ) -> Change:
        order = next(self._order)
        tables = {
            Portfolio: "portfolios",
            Lot: "positions",
            Flow: "equity_changes",
            Price: "market_data_cache",
        }
        return Change(
            table=table or tables[type(row)],  # type: ignore[index]
            key=key,
            version=Version(order, order, 0),
            ts=time.time_ns() // 1000,
            portfolio=portfolio,
            row=row,
        )

    async def _market(self, changes: Sequence[Change]) -> None:
        topic = self.settings.topics.market
        await self._producer.send(topic, encode(changes), partition=0)

    async def _write(self, portfolio: int, changes: Sequence[Change]) -> None:
        """A transaction in one record, or cut in two."""
        topic = self.settings.topics.portfolios
        place = partition_of(portfolio, self.settings.topics.partitions)
        name = str(next(self._order))
        half = len(changes) // 2 if self.random.random() < 0.3 else 0
        if half:
            first = encode(changes[:half], tx=name, more=True)
            await self._producer.send(topic, first, partition=place)
        rest = encode(changes[half:], tx=name)
        await self._producer.send(topic, rest, partition=place)

    # --- workers ---

    def set_factors(self, **values: Any) -> None:
        """Change the setting for the workers that start from now on."""
        factors = msgspec.structs.replace(self.settings.factors, **values)
        self.settings = self.settings.model_copy(update={"factors": factors})
        (self.settings.home / "settings.json").unlink(missing_ok=True)

    def start_worker(self, crash_at: str = "") -> WorkerProcess:
        """Start a worker process, armed to die or not."""
        worker = WorkerProcess(self.settings, self.offsets, crash_at)
        self.workers.append(worker)
        return worker

    async def stop_workers(self) -> None:
        """Stop all of them in good order; their exit codes must be 0."""
        running = [worker for worker in self.workers if worker.running]
        for worker in running:
            # Before that, SIGTERM is Python's own and the exit code another.
            await worker.reports(bool)
            worker.signal(signal.SIGTERM)
        codes = [await worker.ended(15) for worker in running]
        assert codes == [0] * len(running), [w.log_tail() for w in running]

    def kill_workers(self) -> None:
        for worker in self.workers:
            if worker.running:
                worker.signal(signal.SIGKILL)
                worker.process.wait()

    # --- what must hold ---

    async def expected(self) -> dict[Cell, int]:
        """Digest of each cell, by a fresh engine over the whole journal."""
        engine = make_engine(self.settings, self.calendar)
        topics = self.settings.topics
        async for records in read_to_end(self.settings, topics.market):
            for record in records:
                fold(engine, record.offset, record.value)
        for partition in range(topics.partitions):
            engine.add_partition(partition)
        async for records in read_to_end(self.settings, topics.portfolios):
            for record in records:
                fold(engine, record.offset, record.value, record.partition)
        return {
            (result.family, result.owner, result.session): result.digest
            for result in engine.derive()
            if result.content is not None
        }

    async def differences(self) -> Differences:
        """Compare the results topics with the truth."""
        return await compare(self.settings, self.calendar, await self.expected())

    async def settle(self, limit: float = 30.0) -> Differences:
        """Compare until nothing differs, or the time is over."""
        until = time.monotonic() + limit
        while True:
            found = await self.differences()
            if found.none() or time.monotonic() > until:
                return found
            await asyncio.sleep(0.5)

    async def journal_ends(self) -> dict[int, int]:
        """Next offset of each partition of the portfolios' journal."""
        ends: dict[int, int] = defaultdict(int)
        topic = self.settings.topics.portfolios
        async for records in read_to_end(self.settings, topic):
            for record in records:
                ends[record.partition] = record.offset + 1
        return ends

    async def assert_no_record_skipped(self) -> None:
        """Every worker folded without a hole, and together they folded everything."""
        folded: dict[int, set[int]] = defaultdict(set)
        for file in self.offsets.iterdir():
            following: dict[int, int] = {}
            for what, partition, offset in _offset_lines(file):
                if what == "fold":
                    assert following[partition] == offset, (file.name, partition)
                    folded[partition].add(offset)
                following[partition] = offset + (what == "fold")
        for partition, end in (await self.journal_ends()).items():
            assert folded[partition] >= set(range(end)), partition

    async def longest_silence(self, since: float, until: float) -> dict[int, float]:
        """Longest time without a result, by partition, of a time in seconds."""
        moments: dict[int, list[float]] = defaultdict(lambda: [since])
        topic = self.settings.topics.snapshots
        async for records in read_to_end(self.settings, topic):
            for record in records:
                moment = record.timestamp / 1000
                if since <= moment <= until:
                    moments[record.partition].append(moment)
        return {
            partition: max(b - a for a, b in itertools.pairwise([*found, until]))
            for partition, found in moments.items()
        }


def fold(
    engine: Engine, offset: int, value: bytes | None, partition: int | None = None
) -> None:
    """Fold a record as a worker does, unreadable ones too."""
    try:
        batch = decode(value or b"")
        changes, tx, more, partial = batch.changes, batch.tx, batch.more, batch.partial
    except ValueError:
        changes, tx, more, partial = [], None, False, False
    flags = {"tx": tx, "more": more, "partial": partial}
    if partition is None:
        engine.fold_market(changes, next_offset=offset + 1, **flags)
    else:
        engine.fold_partition(partition, changes, next_offset=offset + 1, **flags)


def _offset_lines(file: Path) -> Iterator[tuple[str, int, int]]:
    for line in file.read_text().splitlines():
        what, partition, offset = line.split()
        yield what, int(partition), int(offset)


@asynccontextmanager
async def open_journal_world(
    bootstrap: str, home: Path, *, seed: int = 1, **worker: object
) -> AsyncIterator[JournalWorld]:
    """A world of its own on a broker; its workers are gone at the end."""
    settings = settings_for(bootstrap, home, **worker)
    await ensure_topics(settings, extra=[changelog(settings)])
    async with started_producer(settings) as producer:
        world = JournalWorld(settings, producer, seed)
        try:
            yield world
        finally:
            world.kill_workers()
