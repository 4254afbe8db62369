"""Workers join, leave, are killed and fall asleep, under load; nothing is lost.

What Faust alone loses at a rebalance, and the cure, is told in
``docs/decisions/0003-delivery.md``. Asserted here: every worker folds each
partition without a hole and together they fold all of it; the results equal those
of a fresh engine over the whole journal, as compaction keeps them and as readers
of the highest revision keep them; no partition is silent for longer than ten
seconds.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from connectors.stack import StackInfo
from tests.streams.journal_world import JournalWorld, open_journal_world

pytestmark = pytest.mark.integration

SILENCE_S = 10.0
SETTLED_S = 40.0
WORKERS = 3
PACE = 60.0
"""Records of load a second."""

Pause = Callable[[], Awaitable[None]]


@pytest.fixture
async def world(stack: StackInfo, tmp_path: Path) -> AsyncIterator[JournalWorld]:
    async with open_journal_world(stack.bootstrap, tmp_path) as world:
        await world.load(portfolios=24, sessions=10, symbols=8)
        yield world


@asynccontextmanager
async def under_load(world: JournalWorld) -> AsyncIterator[None]:
    done = asyncio.Event()
    load = asyncio.create_task(world.keep_busy(done, PACE))
    try:
        yield
    finally:
        done.set()
        await load


async def start_some(world: JournalWorld, count: int) -> None:
    for _ in range(count):
        world.start_worker()
    for worker in world.workers[-count:]:
        await worker.ready()


def running(world: JournalWorld) -> list:
    return [worker for worker in world.workers if worker.running]


async def disturb(world: JournalWorld) -> None:
    """One join, leave or kill; one to three workers stay, one of them at work.

    A worker that is still starting is a victim like any other, but the last one
    that publishes is not killed: how long a start takes is not asked here.
    """
    alive = running(world)
    at_work = [w for w in alive if (await w.health()).get("published")]
    hows = ["leave", "kill"] if len(at_work) > 1 else []
    if len(alive) < WORKERS:
        hows.append("join")
    if not hows:
        return
    how = world.random.choice(hows)
    if how == "join":
        world.start_worker()
        return
    victim = world.random.choice(alive)
    victim.signal(signal.SIGTERM if how == "leave" else signal.SIGKILL)
    await victim.ended(15)


async def settled(world: JournalWorld) -> None:
    """Wait until every partition is published by somebody."""
    until = time.monotonic() + SETTLED_S
    published: set[int] = set()
    while len(published) < world.settings.topics.partitions:
        assert time.monotonic() < until, published
        await asyncio.sleep(0.2)
        found = [(await w.health()).get("published") or [] for w in running(world)]
        published = {partition for each in found for partition in each}


async def disturb_for_a_while(
    world: JournalWorld, times: int, pause: Pause
) -> tuple[float, float]:
    """Disturb under load, then see that nothing is lost; when it was."""
    await start_some(world, WORKERS)
    began = time.time()
    async with under_load(world):
        for _ in range(times):
            await pause()
            await disturb(world)
        await settled(world)
        ended = time.time()
    found = await world.settle(40)
    logs = [worker.log_tail() for worker in world.workers]
    assert found.none(), (found, logs)
    await world.stop_workers()
    await world.assert_no_record_skipped()
    return began, ended


async def assert_no_long_silence(
    world: JournalWorld, began: float, ended: float
) -> None:
    silence = await world.longest_silence(began, ended)
    logs = [worker.log.read_text() for worker in world.workers]
    assert len(silence) == world.settings.topics.partitions
    assert max(silence.values()) <= SILENCE_S, "\n".join((str(silence), *logs))


async def test_a_few_disturbances_lose_nothing(world):
    async def pause() -> None:
        await settled(world)
        await asyncio.sleep(1)

    # How long nothing is said is measured below, with no other test beside.
    await disturb_for_a_while(world, 3, pause)


@pytest.mark.faults
async def test_twenty_disturbances_lose_nothing_and_nobody_waits_long(world):
    async def pause() -> None:
        # Two kills at once of the owners of one partition are two sessions.
        await settled(world)
        await asyncio.sleep(world.random.uniform(0, 5))

    when = await disturb_for_a_while(world, 20, pause)
    await assert_no_long_silence(world, *when)


@pytest.mark.faults
@pytest.mark.parametrize("seed", [2, 3])
async def test_twenty_disturbances_of_each_other_lose_nothing(world, seed):
    world.random.seed(seed)

    async def pause() -> None:
        await asyncio.sleep(world.random.uniform(0.1, 4))

    await disturb_for_a_while(world, 20, pause)


@pytest.mark.faults
async def test_a_worker_that_slept_does_not_have_the_last_word(world):
    """SIGSTOP for longer than the session; it wakes up as an owner of nothing."""
    await start_some(world, 2)
    sleeper = world.workers[0]
    async with under_load(world):
        await asyncio.sleep(2)
        sleeper.signal(signal.SIGSTOP)
        await asyncio.sleep(14)
        sleeper.signal(signal.SIGCONT)
        await asyncio.sleep(5)
    found = await world.settle(40)
    logs = [worker.log_tail() for worker in world.workers]
    assert found.none(), (found, logs)
    await world.stop_workers()
    await world.assert_no_record_skipped()
