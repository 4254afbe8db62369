"""A worker on a real broker: what it publishes, and what a kill leaves of it."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from analytics.results import MONEY_FAMILIES
from connectors.deadletters import read_letters
from connectors.kafka import read_to_end, started_producer
from connectors.runs import CATCH_UP, DONE, RUNNING, RunRecord, read_run
from connectors.stack import StackInfo
from connectors.steps import Step
from streams.metrics import Phase
from streams.record import DIGEST_HEADER, REVISION_HEADER
from tests.streams.journal_world import JournalWorld, open_journal_world
from tests.streams.results_compared import STRANGER
from tests.streams.worker_process import WorkerProcess

pytestmark = pytest.mark.integration

SOME_STEPS = (Step.E4, Step.E6)


@pytest.fixture
async def world(stack: StackInfo, tmp_path: Path) -> AsyncIterator[JournalWorld]:
    async with open_journal_world(stack.bootstrap, tmp_path) as world:
        await world.load(portfolios=12, sessions=10, symbols=8)
        yield world


async def test_results_equal_a_fresh_engine_and_a_restart_repeats_nothing(world):
    worker = world.start_worker()
    await worker.ready()
    for _ in range(60):
        await world.disturb()
    await world.garbage()
    found = await world.settle()
    assert found.none(), worker.log_tail()
    assert found.cells > 0
    await its_catch_up_is_told(world)
    await world.stop_workers()

    letters = await read_letters(world.settings)
    assert {letter.topic for letter in letters} == {
        world.settings.topics.market,
        world.settings.topics.portfolios,
    }

    again = world.start_worker()
    await again.ready()
    await world.tick()
    after = await world.settle()
    assert after.none(), again.log_tail()
    # One tick moves at most the newest session of each portfolio and symbol, once a
    # family.
    assert after.records - found.records <= 3 * 12 + 8
    await world.stop_workers()
    await world.assert_no_record_skipped()


async def told_run(world: JournalWorld) -> RunRecord:
    """Read what was told last of the only run."""
    runs = {}
    async for records in read_to_end(world.settings, world.settings.topics.runs):
        runs |= {record.key: read_run(record.value) for record in records}
    (run,) = runs.values()
    assert run is not None
    return run


async def its_catch_up_is_told(world: JournalWorld) -> None:
    run = await told_run(world)
    # A worker looks once a second whether it has caught up, and may just have looked.
    until = time.monotonic() + 20
    while run.status == RUNNING and time.monotonic() < until:
        await asyncio.sleep(0.2)
        run = await told_run(world)
    assert (run.kind, run.status) == (CATCH_UP, DONE), run
    assert min(run.counts["rows"], run.counts["snapshots"]) > 0
    assert run.first is not None
    assert run.first < (run.last or run.first)
    phases = {name: run.seconds[name] for name in Phase if name is not Phase.READ}
    assert all(seconds > 0 for seconds in phases.values()), phases
    assert sum(phases.values()) < run.seconds["total"]


@pytest.mark.parametrize(
    "order",
    [
        "ahead behind",
        *(
            pytest.param(order, marks=pytest.mark.faults)
            for order in ("behind", "ahead", "behind ahead")
        ),
    ],
)
async def test_what_a_stranger_left_on_top_is_published_again(world, order):
    """A former owner wrote: of an older prefix of the partition (behind), of a
    longer prefix of the market than anybody has read (ahead), or both."""
    worker = world.start_worker()
    await worker.ready()
    assert (await world.settle()).none()
    await speak_over(world, worker, order)
    await asyncio.sleep(2)
    found = await world.differences()
    assert not found.wrong_last, worker.log_tail()
    assert bool(found.wrong_highest) == ("ahead" in order)
    for _ in range(3):
        await world.tick()
    found = await world.settle(15)
    assert found.none(), (found, worker.log_tail())


async def speak_over(world: JournalWorld, worker: WorkerProcess, order: str) -> None:
    """Write what a former owner might over an old result, ``ahead`` or ``behind``."""
    topic = world.settings.topics.snapshots
    newest = {}
    async for records in read_to_end(world.settings, topic):
        newest |= {record.key: record for record in records}
    # Of an old session: nothing that happens below touches it.
    victim = min(newest.values(), key=lambda r: r.key.partition(b"|")[2])
    p, _, v = dict(victim.headers)[REVISION_HEADER].split(b",")
    m = (await worker.health())["market"]
    revisions = {
        "behind": b"0,%d,%b" % (m + 5, v),
        "ahead": b"%b,%d,%b" % (p, m + 2, v),
    }
    async with started_producer(world.settings) as stranger:
        for which in order.split():
            digest = STRANGER.to_bytes(8)
            await stranger.send_and_wait(
                topic,
                b'{"stale": true}',
                key=victim.key,
                partition=victim.partition,
                headers=[(DIGEST_HEADER, digest), (REVISION_HEADER, revisions[which])],
            )


async def test_a_void_checkpoint_is_slower_and_equally_right(world):
    worker = world.start_worker()
    await worker.ready()
    for _ in range(20):
        await world.disturb()
    assert (await world.settle()).none()
    await world.stop_workers()
    async with started_producer(world.settings) as stranger:
        for partition in range(world.settings.topics.partitions):
            await stranger.send_and_wait(
                f"{world.settings.worker.app_id}-state-changelog",
                b"not ours",
                key=b"%d|pf|999#0" % partition,
                partition=partition,
            )
        await stranger.send_and_wait(
            world.settings.topics.market_checkpoint, b"not ours", key=b"7#0"
        )
    again = world.start_worker()
    await again.ready()
    await world.disturb()
    found = await world.settle()
    assert found.none(), again.log_tail()
    assert "sealed" in again.log.read_text()
    await world.stop_workers()

    third = world.start_worker()
    await third.ready()
    assert "sealed" not in third.log.read_text(), "the void one was not replaced"


async def test_what_was_said_after_the_checkpoint_is_known_to_the_next_owner(
    stack, tmp_path
):
    """A, checkpoint, B, kill, A again: B must not stay because A was said once."""
    settings = {"checkpoint_s": 600, "families": MONEY_FAMILIES}
    async with open_journal_world(stack.bootstrap, tmp_path, **settings) as world:
        await world.load(portfolios=4, sessions=4, symbols=4)
        await world.close_everything_at(10_000_000)
        await world.start_worker().ready()
        assert (await world.settle()).none()
        await world.stop_workers()

        second = world.start_worker()
        await second.ready()
        await world.close_everything_at(20_000_000)
        assert (await world.settle()).none()
        second.signal(signal.SIGKILL)
        await second.ended(5)

        await world.close_everything_at(10_000_000)
        third = world.start_worker()
        await third.ready()
        found = await world.settle(15)
        assert found.none(), (found, third.log_tail())
        assert "checkpoint of" not in third.log.read_text(), "it was void"


async def kill_after(world: JournalWorld, step: Step, count: int = 2) -> None:
    """A worker dies under load, right after a step was done for the n-th time."""
    worker = world.start_worker(crash_at=f"{step}:{count}")
    done = asyncio.Event()
    load = asyncio.create_task(world.keep_busy(done))
    try:
        code = await worker.ended(40)
    finally:
        done.set()
        await load
    assert code == -signal.SIGKILL, worker.log_tail()


@pytest.mark.parametrize("step", SOME_STEPS)
async def test_a_kill_between_two_steps_leaves_nothing_wrong(world, step):
    await kill_after(world, step)
    worker = world.start_worker()
    await worker.ready()
    found = await world.settle()
    assert found.none(), worker.log_tail()
    await world.stop_workers()
    await world.assert_no_record_skipped()
