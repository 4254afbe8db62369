"""A run fed from the tables says what live says, on the real stack."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest

from deltafolio.universe import make_universe
from replay.state import Runs
from tests.worlds import World

pytestmark = [pytest.mark.integration, pytest.mark.slow]

OpenWorld = Callable[..., Awaitable[World]]

UNIVERSE = make_universe(12, 10, symbols=16, warmup=5)
RANGE = ("--from", UNIVERSE.sessions[5], "--to", UNIVERSE.sessions[-1])
ODD = [
    # Refused: a price, a date, a word, texts, keys; each is absent on both sides.
    "UPDATE market_data_cache SET close = -1 WHERE symbol = 'SPY' AND date = $day",
    "UPDATE positions SET entry_date = '1950-01-03' WHERE id = 3",
    "UPDATE positions SET position_type = 'SIDEWAYS' WHERE id = 4",
    "UPDATE positions SET symbol = repeat('x', 20000) WHERE id = 5",
    "UPDATE positions SET entry_price = 'NaN' WHERE id = 6",
    # Read, whatever a line of COPY makes of them.
    r"""UPDATE portfolios SET name = E'a\\b\n\t"c"\r\x01 é 日' WHERE id = 2""",
    r"UPDATE market_data_cache SET symbol = E'T\\AB' WHERE symbol = 'S0001'",
    r"UPDATE positions SET symbol = E'T\\AB' WHERE symbol = 'S0001'",
    "UPDATE market_data_cache SET adj_close = 'NaN' WHERE symbol = 'S0002'",
    "UPDATE market_data_cache SET adj_close = adj_close / 3 WHERE symbol = 'S0003'",
    # Not there any more, and not there yet.
    "UPDATE positions SET deleted_at = now() WHERE id = 7",
    "DELETE FROM positions WHERE id = 8",
    "INSERT INTO market_data_cache (symbol, date, close) VALUES ('S0003', $ahead, 1)",
]


async def replay(world: World, *words: str, code: int = 0) -> str:
    home = str(world.settings.home)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "deltafolio", "--home", home, "replay", *words],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


async def test_the_tables_say_what_the_journal_says(open_world: OpenWorld) -> None:
    world = await open_world()
    await world.load(UNIVERSE.tables)
    day, ahead = f"'{UNIVERSE.sessions[-2]}'", "'2035-01-02'"
    await world.execute(*(s.replace("$day", day).replace("$ahead", ahead) for s in ODD))
    await world.caught_up()

    said = await replay(world, "run", *RANGE, "--source", "postgres")
    (run,) = Runs(world.settings.home).all()
    found = run.summary
    # 12 portfolios, ten sessions, at least snapshots and lots.
    assert found.derived == found.unchanged >= 240, said
    assert found.differ == 0
    assert found.refused == 5 + len(UNIVERSE.sessions), said
    assert "the tables as of" in said

    why = await replay(
        world, "run", *RANGE, "--source", "postgres", "--publish", code=1
    )
    assert "a revision is a prefix of the journal" in why
    why = await replay(
        world, "run", *RANGE, "--source", "postgres", "--portfolios", "99", code=1
    )
    assert "no such portfolio in PostgreSQL: 99" in why
    assert [r.name for r in Runs(world.settings.home).all()] == [run.name]
    assert not list((world.settings.home / "replay").glob("*.part"))
