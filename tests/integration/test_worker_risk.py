"""Workers that publish every family, on a real broker."""

import signal
from pathlib import Path

import pytest

from analytics.results import ALL_FAMILIES
from connectors.stack import StackInfo
from tests.streams.journal_world import open_journal_world

pytestmark = pytest.mark.integration


async def test_risk_and_symbols_outlive_a_kill_and_a_second_worker(
    stack: StackInfo, tmp_path: Path
):
    where = open_journal_world(stack.bootstrap, tmp_path, families=ALL_FAMILIES)
    async with where as world:
        await world.load(portfolios=6, sessions=45, symbols=6)
        first = world.start_worker()
        await first.ready()
        for _ in range(20):
            await world.disturb()
        first.signal(signal.SIGKILL)
        first.process.wait()
        second = world.start_worker()
        await second.ready()
        third = world.start_worker()
        await third.ready()
        for _ in range(20):
            await world.disturb()
        found = await world.settle(60)
        assert found.none(), second.log_tail() + third.log_tail()
        assert {cell[0] for cell in await world.expected()} == set(ALL_FAMILIES)
        await world.stop_workers()
        await world.assert_no_record_skipped()
