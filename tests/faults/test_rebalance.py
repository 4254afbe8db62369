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
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from connectors.stack import StackInfo
from streams.steps import Step
from tests.integration.test_worker import kill_after
from tests.streams.journal_world import JournalWorld, open_journal_world

pytestmark = pytest.mark.integration

SILENCE_S = 10.0
WORKERS = 3
PACE = 60.0
"""Records of load a second."""


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


async def disturb_for_a_while(
    world: JournalWorld, times: int, pause: Callable[[], float]
) -> None:
    await start_some(world, WORKERS)
    began = time.time()
    async with under_load(world):
        for _ in range(times):
            await asyncio.sleep(pause())
            await disturb(world)
        await asyncio.sleep(SILENCE_S / 2)
        ended = time.time()
    if not running(world):
        world.start_worker()
    found = await world.settle(40)
    logs = [worker.log_tail() for worker in world.workers]
    assert found.none(), (found, logs)
    await world.stop_workers()
    await world.assert_no_record_skipped()
    silence = await world.longest_silence(began, ended)
    assert len(silence) == world.settings.topics.partitions
    assert max(silence.values()) <= SILENCE_S, silence


async def test_a_few_disturbances_lose_nothing(world):
    await disturb_for_a_while(world, 3, lambda: 3.0)


@pytest.mark.faults
@pytest.mark.parametrize("seed", [2, 3])
async def test_twenty_disturbances_lose_nothing(world, seed):
    world.random.seed(seed)
    await disturb_for_a_while(world, 20, lambda: world.random.uniform(0.5, 8.0))


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


@pytest.mark.faults
@pytest.mark.parametrize("step", list(Step))
async def test_a_kill_after_any_step_leaves_nothing_wrong(world, step):
    await kill_after(world, step)
    await start_some(world, 1)
    found = await world.settle()
    assert found.none(), world.workers[-1].log_tail()
    await world.stop_workers()
    await world.assert_no_record_skipped()
