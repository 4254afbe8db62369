"""A worker on a real broker: what it publishes, and what a kill leaves of it."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from connectors.deadletters import read_letters
from connectors.kafka import read_to_end, started_producer
from connectors.stack import StackInfo
from streams.record import DIGEST_HEADER, REVISION_HEADER
from streams.steps import Step
from tests.streams.journal_world import JournalWorld, open_journal_world
from tests.streams.results_compared import STRANGER

pytestmark = pytest.mark.integration

SOME_STEPS = (Step.FOLD, Step.PUBLISH, Step.CHECKPOINT)


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
    # One tick moves at most the newest session of each portfolio, once a family.
    assert after.records - found.records <= 2 * 12
    await world.stop_workers()
    await world.assert_no_record_skipped()


async def test_what_a_stranger_left_on_top_is_published_again(world):
    worker = world.start_worker()
    await worker.ready()
    assert (await world.settle()).none()
    topic = world.settings.topics.snapshots
    newest = {}
    async for records in read_to_end(world.settings, topic):
        newest |= {record.key: record for record in records}
    record = next(iter(newest.values()))
    p, m, v = dict(record.headers)[REVISION_HEADER].split(b",")
    async with started_producer(world.settings) as stranger:
        # As a former owner would: an older prefix of the portfolio's partition,
        # then a newer one of the market; the second wins until the world moves on.
        for revision in (
            b"0,%d,%b" % (int(m) + 5, v),
            b"%b,%d,%b" % (p, int(m) + 1, v),
        ):
            digest = STRANGER.to_bytes(8)
            headers = [(DIGEST_HEADER, digest), (REVISION_HEADER, revision)]
            await stranger.send_and_wait(
                topic,
                b'{"stale": true}',
                key=record.key,
                partition=record.partition,
                headers=headers,
            )
    assert not (await world.differences()).none()
    await world.tick()
    found = await world.settle(15)
    assert found.none(), worker.log_tail()


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


async def kill_after(world: JournalWorld, step: Step) -> None:
    """A worker dies after a step under load; another one makes everything right."""
    worker = world.start_worker(crash_at=f"{step}:2")
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
