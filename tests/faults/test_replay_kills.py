"""Tool, workers and broker are killed at random during a run; it is resumed.

However often: the same results as those of a run that nobody disturbed, bit for bit,
nothing of it in the live topics, and no record of the journal fed twice.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from connectors.kafka import read_to_end
from connectors.settings import TopicSettings
from connectors.sink_records import revision_of
from connectors.stack import Stack
from replay.state import Phase, Run, Runs
from tests.integration.test_replay import count, dates, live_words, logs, start, until
from tests.streams.journal_world import JournalWorld, open_journal_world

pytestmark = [pytest.mark.faults, pytest.mark.integration]

SEED = 20_261_127
KILLS = 6
WORKER = re.compile(rb'"pid":(\d+)')
Content = dict[bytes, tuple[tuple[int, int, int], bytes]]


@pytest.fixture
def own(tmp_path: Path):
    stack = Stack(tmp_path / "stack")
    try:
        yield stack
    finally:
        stack.down(purge=True)


@pytest.fixture
async def world(own: Stack, tmp_path: Path) -> AsyncIterator[JournalWorld]:
    bootstrap = (await asyncio.to_thread(own.up)).bootstrap
    async with open_journal_world(bootstrap, tmp_path) as world:
        await world.come_to_rest()
        yield world


async def content(world: JournalWorld, run: Run) -> Content:
    """Bytes of each cell of a run's topics, of the highest revision."""
    found: Content = {}
    names = TopicSettings()
    for topic in (names.snapshots, names.positions):
        async for records in read_to_end(world.settings, f"replay.{run.name}.{topic}"):
            for record in records:
                key, revision = topic.encode() + record.key, revision_of(record)
                if revision >= found.get(key, ((-1, -1, -1), b""))[0]:
                    found[key] = revision, dict(record.headers)["d"]
    return found


def workers_of(place: Path) -> list[int]:
    found = []
    for path in (place / "run").glob("worker-*.pid"):
        if match := WORKER.search(path.read_bytes()):
            found.append(int(match[1]))
    return found


async def disturb(
    own: Stack, place: Path, tool: subprocess.Popen[str], chance: Random
) -> str:
    """Kill one of them, at once or a moment later."""
    await asyncio.sleep(chance.uniform(0, 4))
    victim = chance.choice(("tool", "worker", "broker"))
    if victim == "tool":
        tool.kill()
    elif victim == "worker":
        for pid in workers_of(place)[:1]:
            os.kill(pid, signal.SIGKILL)
    else:
        own.kill("broker")
        await asyncio.sleep(chance.uniform(0, 2))
        await asyncio.to_thread(own.start_service, "broker")
    return victim


async def until_over(tool: subprocess.Popen[str]) -> str:
    said, _ = await asyncio.to_thread(tool.communicate, timeout=180)
    return said


async def test_whatever_is_killed_the_results_are_those_of_a_quiet_run(own, world):
    chance = Random(SEED)  # noqa: S311 - repeatable
    runs, range_ = Runs(world.settings.home), dates(world, 1, 8)
    before = await live_words(world)
    tool = start(world, "run", *range_, "--workers", "2")
    await until_over(tool)
    (quiet,) = runs.all()
    assert quiet.phase is Phase.DONE, logs(world)

    tool = start(world, "run", *range_, "--workers", "2", "--rate", "30")
    story = []
    for _ in range(KILLS):
        name = await new_run(runs, quiet.name)
        story.append(await disturb(own, runs.place(name), tool, chance))
        if tool.poll() is not None:
            await until_over(tool)
        if tool.returncode not in (None, 0):
            tool = start(world, "resume", name)
    said = await until_over(tool)
    for _ in range(3):
        if tool.returncode == 0:
            break
        tool = start(world, "resume", name)
        said = await until_over(tool)
    assert tool.returncode == 0, (story, said, logs(world))

    disturbed = runs.load(name)
    assert disturbed.summary.derived == disturbed.summary.unchanged > 0
    assert await content(world, disturbed) == await content(world, quiet), story
    fed = f"replay.{name}.{TopicSettings().market}"
    assert await count(world, fed) == disturbed.plan.prefix.market
    assert await live_words(world) == before


async def new_run(runs: Runs, but: str) -> str:
    (name,) = await until(lambda: [r.name for r in runs.all() if r.name != but])
    return name
