"""Bounded memory: a million price changes at once, and nobody who takes the results."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psutil
import pytest

from connectors.postgres import connect
from connectors.stack import Stack, StackInfo
from deltafolio.progress import Gauge
from deltafolio.universe import make_universe
from tests.worlds import World

pytestmark = [pytest.mark.faults, pytest.mark.integration]

OpenWorld = Callable[..., Awaitable[World]]

UNIVERSE = make_universe(100, 20, symbols=492, warmup=20)
SYMBOLS = len(UNIVERSE.symbols)
CHANGES = 1_000_000
SECONDS = 400.0
MIB = 1 << 20
LOOK_S = 0.2
GROWTH = {"intake": 350, "worker-1": 350, "sink": 250}
"""MiB that a process may have above what it had before the burst."""

MOVE = (
    "UPDATE market_data_cache SET close = close + $1 WHERE date IN (SELECT DISTINCT "
    "date FROM market_data_cache ORDER BY date DESC LIMIT $2)"
)


class Memory:
    """Resident memory of a world's processes, in MiB: at the start, and the most."""

    def __init__(self, world: World) -> None:
        self._supervisor = world.app.supervisor
        self.before = self._now()
        self.most = dict(self.before)

    def look(self) -> None:
        for name, now in self._now().items():
            self.most[name] = max(now, self.most[name])

    def line(self) -> str:
        return ", ".join(
            f"{name} {self.before[name]:.0f} → {self.most[name]:.0f}"
            for name in self.before
        )

    def assert_bounded(self) -> None:
        grown = {name: self.most[name] - self.before[name] for name in GROWTH}
        assert all(grown[name] <= GROWTH[name] for name in GROWTH), self.line()

    def _now(self) -> dict[str, float]:
        found = {}
        for name in self._supervisor.names():
            pid = self._supervisor.pid(name)
            assert pid is not None, name
            found[name] = psutil.Process(pid).memory_info().rss / MIB
        return found


@asynccontextmanager
async def watched(memory: Memory) -> AsyncIterator[None]:
    async def look() -> None:
        while True:
            memory.look()
            await asyncio.sleep(LOOK_S)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def world(open_world: OpenWorld) -> World:
    world = await open_world()
    await world.load(UNIVERSE.tables)
    await world.caught_up(SECONDS)
    return world


async def burst(world: World, sessions: int, times: int) -> None:
    """Change every price of some sessions, in one transaction, some times."""
    connection = await connect(world.dsn, "test")
    try:
        for number in range(times):
            await connection.execute(MOVE, (-1) ** number * 0.01, sessions)
    finally:
        await connection.close()


@pytest.mark.parametrize("sessions", [1, 20, 40])
async def test_a_million_price_changes(world: World, sessions: int) -> None:
    """In transactions of 500, 10,000, and 20,000 rows: ticks, and whole histories."""
    memory = Memory(world)
    async with watched(memory):
        await burst(world, sessions, CHANGES // (sessions * SYMBOLS))
        await world.caught_up(SECONDS)
    print(f"{sessions * SYMBOLS} rows a transaction: MiB {memory.line()}")
    memory.assert_bounded()
    await world.assert_equal_to_the_oracle()


async def test_a_million_price_changes_in_one_transaction(world: World) -> None:
    memory = Memory(world)
    connection = await connect(world.dsn, "test")
    async with watched(memory):
        try:
            async with connection.transaction():
                for number in range(CHANGES // (40 * SYMBOLS)):
                    await connection.execute(MOVE, (-1) ** number * 0.01, 40)
        finally:
            await connection.close()
        await world.caught_up(SECONDS)
    print(f"one transaction: MiB {memory.line()}")
    memory.assert_bounded()
    await world.assert_equal_to_the_oracle()


async def test_a_sink_that_stands_still_holds_up_nobody(world: World) -> None:
    """The topics keep what it has not read; it reads on when it is back."""
    memory = Memory(world)
    async with watched(memory), Gauge(world.settings) as gauge:
        world.app.kill("sink", signal.SIGSTOP)
        before = await gauge.read()
        await burst(world, 20, 40)
        await gauge.until(lambda now: now.published > before.published + 1000, 60)
        await asyncio.sleep(10)
        assert (await gauge.read()).sunk == before.sunk
        world.app.kill("sink", signal.SIGCONT)
        await world.caught_up(SECONDS)
    print(f"stopped sink: MiB {memory.line()}")
    memory.assert_bounded()
    await world.assert_equal_to_the_oracle()


async def test_a_broker_that_stands_still_is_waited_for(
    world: World, stack: StackInfo
) -> None:
    """PostgreSQL's log keeps what cannot be captured; nobody ends, nobody grows."""
    memory = Memory(world)
    services = Stack(stack.home)
    async with watched(memory):
        await asyncio.to_thread(services.stop_service, "broker")
        try:
            await burst(world, 20, 40)
            await asyncio.sleep(10)
        finally:
            await asyncio.to_thread(services.start_service, "broker")
        await world.caught_up(SECONDS)
    print(f"stopped broker: MiB {memory.line()}")
    memory.assert_bounded()
    await world.assert_equal_to_the_oracle()
