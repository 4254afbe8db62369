"""kill -9 of a process at a random moment under load: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import pytest

from connectors.kafka import read_to_end
from connectors.postgres import connect
from connectors.settings import Settings
from deltafolio.ripples import Listener
from deltafolio.universe import make_universe
from tests.worlds import World

pytestmark = [pytest.mark.faults, pytest.mark.integration]

OpenWorld = Callable[..., Awaitable[World]]

UNIVERSE = make_universe(30, 40, symbols=60, warmup=10)
NEWEST = UNIVERSE.sessions[-1]
FRESH_SECONDS = 10.0
SEED = 20_261_125
LOAD = """
UPDATE market_data_cache SET close = close + 0.01
WHERE date = (SELECT DISTINCT date FROM market_data_cache ORDER BY date DESC
              OFFSET $1 LIMIT 1)
AND symbol = any($2::text[])
"""


async def load_until(world: World, stop: asyncio.Event, seed: int) -> int:
    """Correct prices of recent sessions and restate lots, until told to stop."""
    chance = random.Random(seed)  # noqa: S311 - repeatable
    connection = await connect(world.dsn, "test load")
    done = 0
    try:
        while not stop.is_set():
            chosen = chance.sample(UNIVERSE.symbols, 5)
            await connection.execute(LOAD, chance.randrange(10), chosen)
            await connection.execute(
                "UPDATE positions SET quantity = quantity * 2 - quantity * 2 + "
                "sign(quantity) * $1 WHERE id = $2",
                chance.randrange(10, 500),
                chance.randrange(1, 600),
            )
            done += 2
            await asyncio.sleep(0.01)
    finally:
        await connection.close()
    return done


@pytest.mark.parametrize("victim", ["worker-1", "intake", "sink"])
async def test_killed_under_load(open_world: OpenWorld, victim: str) -> None:
    chance = random.Random(SEED)  # noqa: S311 - repeatable
    world = await open_world(workers=2)
    await world.load(UNIVERSE.tables)
    await world.caught_up()
    stop = asyncio.Event()
    task = asyncio.create_task(load_until(world, stop, SEED))
    try:
        for _ in range(3):
            await asyncio.sleep(chance.uniform(0.5, 3))
            world.app.kill(victim)
            assert await seconds_to_fresh(world) <= FRESH_SECONDS, world.story()
    finally:
        stop.set()
        changes = await task
    assert changes > 100
    await world.assert_equal_to_the_oracle()
    await world.assert_equal_to_a_replay()
    await no_revision_has_two_contents(world.settings)


async def seconds_to_fresh(world: World) -> float:
    """Commit one new change; how long until each of its results is there.

    Every portfolio holds something of the newest session, so all partitions speak.
    """
    began = time.monotonic()
    async with Listener(world.settings, world.settings.topics.snapshots) as ears:
        before = time.time()
        await world.execute(
            f"UPDATE market_data_cache SET close = close + 0.01 WHERE date = '{NEWEST}'"
        )
        heard: set[int | str] = set()
        while len(heard) < 30 and time.monotonic() - began < 2 * FRESH_SECONDS:
            await asyncio.sleep(0.05)
            heard |= {h.owner for h in ears.take() if h.known >= before}
    return time.monotonic() - began


async def no_revision_has_two_contents(settings: Settings) -> None:
    """On each results topic, one revision of a cell has one content."""
    names = settings.topics
    for topic in (names.snapshots, names.positions, names.risk, names.symbols):
        seen: dict[tuple[bytes, bytes], bytes] = {}
        async for records in read_to_end(settings, topic):
            for record in records:
                headers = dict(record.headers)
                place = (record.key, headers["r"])
                assert seen.setdefault(place, headers["d"]) == headers["d"], place
