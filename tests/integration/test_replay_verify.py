"""``replay verify`` on the real stack: nothing differs; one planted bit is named."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from connectors.postgres import connect
from deltafolio.loading import load
from sample.portfolios import tables

pytestmark = [pytest.mark.integration, pytest.mark.slow]


async def verify(world, *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "deltafolio", "--home", str(world.settings.home)]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "replay", "verify", *words],
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


async def test_nothing_differs_and_a_planted_bit_is_named(open_world):
    world = await open_world()
    connection = await connect(world.dsn, "test")
    try:
        await load(connection, tables())
    finally:
        await connection.close()
    await world.caught_up()
    code, said = await verify(world, "--all", "--oracle", "--wait", "60")
    assert code == 0, said
    assert said.count(" 0 differ") == 2, said

    # The last bit of one double: 1 + 2**-52 times what it was.
    await world.execute(
        "UPDATE analytics.portfolio_snapshots SET hhi = hhi * (1 + power(2, -52)) "
        "WHERE portfolio_id = 1 AND session = '2022-11-01'"
    )
    code, said = await verify(world, "--portfolios", "1", "--wait", "0")
    assert code == 1, said
    assert "cells compared, 1 differ" in said
    assert "portfolio_id 1, session 2022-11-01, hhi" in said
