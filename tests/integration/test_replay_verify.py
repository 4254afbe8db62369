"""``replay verify`` on the real stack: nothing differs; what is planted is named."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from analytics import valuation
from connectors.ids import Wanted
from connectors.kafka import read_to_end, started_producer
from deltafolio.replay_run import calendar_of
from deltafolio.replay_verify import _asked
from replay.ask import bounds_of
from replay.verify import Found, Verify
from sample.portfolios import tables

pytestmark = [pytest.mark.integration, pytest.mark.slow]
DAY = "2022-11-01"


async def verify(world, *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "deltafolio", "--home", str(world.settings.home)]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "replay", "verify", *words],
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    return done.returncode, done.stdout + done.stderr


async def verified(world, portfolio: int) -> Found:
    """Verify in this process, of which a test may spoil the kernels."""
    calendar = calendar_of(world.settings)
    wanted = Wanted((portfolio,))
    ask = await _asked(world.settings, calendar, bounds_of(DAY, DAY), wanted, None)
    return await Verify(world.settings, calendar, ask).run()


async def test_nothing_differs_and_what_is_planted_is_named(open_world, monkeypatch):
    world = await open_world()
    await world.load(tables())
    await world.caught_up()
    code, said = await verify(world, "--all", "--oracle", "--wait", "60")
    assert code == 0, said
    assert said.count(" 0 differ") == 2, said

    # A kernel whose last bit is another one: live was derived by the right one.
    with monkeypatch.context() as spoilt:
        right = valuation.Concentration

        def wrong(names, hhi, *others):
            return right(names, hhi * (1 + 2**-52), *others)

        spoilt.setattr(valuation, "Concentration", wrong)
        found = await verified(world, 2)
    assert found.differ == 2, "a row and a record"
    assert found.first is not None
    assert found.first.path == ("hhi",)
    assert (await verified(world, 2)).differ == 0

    # A worker that is there would say it again.
    await asyncio.to_thread(world.app.supervisor.remove, "worker-1")
    # A record of the same revision and digest whose content is another one.
    topic, key = world.settings.topics.snapshots, f"2|{DAY}".encode()
    async for records in read_to_end(world.settings, topic):
        for record in records:
            if record.key == key:
                victim = record
    async with started_producer(world.settings) as producer:
        await producer.send_and_wait(
            topic,
            victim.value.replace(b'"lots":', b'"lots":1'),
            key=key,
            partition=victim.partition,
            headers=list(victim.headers),
        )
    found = await verified(world, 2)
    assert found.differ == 1
    assert found.first is not None
    assert found.first.where == f"{topic}, 2|{DAY}"
    assert found.first.path == ("lots",)
    assert str(found.first.found) == f"1{found.first.expected}"
    assert "moved by" in found.first.story or "p " in found.first.story

    # The last bit of one double: 1 + 2**-52 times what it was.
    await world.execute(
        "UPDATE analytics.portfolio_snapshots SET hhi = hhi * (1 + power(2, -52)) "
        f"WHERE portfolio_id = 1 AND session = '{DAY}'"
    )
    # Of the range only the first three are there.
    code, said = await verify(world, "--portfolios", "1-9", "--wait", "0", "--oracle")
    assert code == 1, said
    assert "portfolios: 3," in said
    code, said = await verify(world, "--portfolios", "1", "--wait", "0")
    assert code == 1, said
    assert "cells compared, 1 differ" in said
    assert f"portfolio_id 1, session {DAY}, hhi" in said
    # Its inputs and its story, as why tells them.
    assert "hhi of portfolio 1" in said
    assert "lots by |market_value|" in said
    assert "revision  p" in said


SPOILT = """
from analytics import valuation

right = valuation.Concentration


def wrong(names, hhi, *others):
    return right(names, hhi * 1.01, *others)


valuation.Concentration = wrong
"""


@pytest.mark.faults
async def test_a_bug_in_live_and_replay_alike_is_found_by_the_oracle(
    open_world, monkeypatch, tmp_path
):
    """Every process has the same wrong kernel: to the replay nothing differs."""
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "spoilt" / "sitecustomize.py").write_text(SPOILT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "spoilt"))
    world = await open_world()
    await world.load(tables())
    await world.caught_up()
    asked = ("--portfolios", "2", "--from", DAY, "--to", DAY, "--wait", "0")
    code, said = await verify(world, *asked, "--oracle")
    assert code == 1, said
    replayed, oracle = [line for line in said.splitlines() if "compared" in line]
    assert ", 0 differ" in replayed
    assert ", 0 differ" not in oracle
    assert "hhi" in said
