"""SIGTERM under load: each process ends in good order within ten seconds, 0 lost."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from tests.faults.test_process_kills import (
    SEED,
    UNIVERSE,
    OpenWorld,
    load_until,
    no_revision_has_two_contents,
)

pytestmark = [pytest.mark.faults, pytest.mark.integration]

SECONDS = 10.0


async def test_each_process_ends_in_good_order_under_load(
    open_world: OpenWorld,
) -> None:
    world = await open_world(workers=2)
    await world.load(UNIVERSE.tables)
    await world.caught_up()
    stop = asyncio.Event()
    task = asyncio.create_task(load_until(world, stop, SEED))
    try:
        for name in ("intake", "worker-1", "sink", "capture", "worker-2"):
            await asyncio.sleep(2)
            before = len(world.app.supervisor.exit_codes(name))
            began = time.monotonic()
            world.app.kill(name, signal.SIGTERM)
            while len(world.app.supervisor.exit_codes(name)) == before:
                assert time.monotonic() < began + SECONDS, f"{name} does not end"
                await asyncio.sleep(0.05)
            took = time.monotonic() - began
            print(f"{name}: {took:.1f} s")
            assert world.app.supervisor.exit_codes(name)[-1] == 0, world.story()
            assert took <= SECONDS
    finally:
        stop.set()
        changes = await task
    assert changes > 100
    await world.caught_up()
    await world.assert_equal_to_the_oracle()
    await no_revision_has_two_contents(world.settings)
