"""Workers that publish every family, on a real broker."""

import signal
from pathlib import Path

import pytest

from analytics.factors import Window
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


async def test_other_factors_replace_what_was_published_if_their_edition_is_raised(
    stack: StackInfo, tmp_path: Path
):
    where = open_journal_world(stack.bootstrap, tmp_path, families=ALL_FAMILIES)
    async with where as world:
        await world.load(portfolios=3, sessions=45, symbols=4)
        await world.start_worker().ready()
        assert (await world.settle(60)).none()
        await world.stop_workers()
        before = await world.expected()

        world.set_factors(ridge_alpha=2.0, beta=Window(60, 30))
        refused = world.start_worker()
        assert await refused.ended(40) == 1
        assert "factors.edition must be raised by 1" in refused.log_tail()

        world.set_factors(edition=1)
        await world.start_worker().ready()
        found = await world.settle(60)
        assert found.none()
        after = await world.expected()
        moved = {cell for cell in after if after[cell] != before[cell]}
        assert {family for family, *_ in moved} == {"risk", "symbols"}
        assert found.records == len(before) + len(moved)
        await world.stop_workers()
