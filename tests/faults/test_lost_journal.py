"""The runbook "A journal that is lost", step by step (docs/operations.md).

What it names (tables, topics) is read from the document, so that the two agree.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from connectors.kafka import started_admin
from connectors.reconcile import reconcile_until
from connectors.settings import TopicSettings
from deltafolio.universe import make_universe
from tests.worlds import World, calendar_of

pytestmark = [pytest.mark.faults, pytest.mark.integration]

OpenWorld = Callable[..., Awaitable[World]]

UNIVERSE = make_universe(30, 40, symbols=60, warmup=10)
DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
GONE_SECONDS = 30.0


def runbook() -> str:
    """Give the section of the document, in one line."""
    text = DOCUMENT.read_text("utf-8").split("\n## A journal that is lost\n")[1]
    return " ".join(text.split("\n## ")[0].split())


def topics_to_delete(world: World) -> list[str]:
    """Topics of step 4 in this world; ``results.*`` are all of that name."""
    names = world.settings.topics
    step = runbook().split(" 4. ")[1].split(". Those of")[0]
    worlds = {
        value: getattr(names, field)
        for field, value in TopicSettings().model_dump().items()
        if isinstance(value, str)
    }
    worlds["deltafolio-state-changelog"] = (
        f"{world.settings.worker.app_id}-state-changelog"
    )
    found = []
    for word in re.findall(r"`([^`]+)`", step):
        prefix = word.removesuffix("*")
        found += [
            name
            for value, name in worlds.items()
            if value == word or (prefix != word and value.startswith(prefix))
        ]
    assert len(found) == 8, found
    return found


async def test_a_journal_that_is_lost_is_made_anew(open_world: OpenWorld) -> None:
    world = await open_world(workers=2)
    await world.load(UNIVERSE.tables)
    await world.caught_up()
    await world.assert_equal_to_the_oracle()

    world.app.stop()  # 1
    # What happens from here on is in no slot, and must not be missed.
    await world.execute("UPDATE positions SET quantity = quantity * 2 WHERE id % 3 = 0")
    await forget_the_connector(world)  # 2
    await drop_the_slot(world)  # 3
    await world.execute("UPDATE market_data_cache SET close = close + 1")
    async with started_admin(world.settings) as admin:  # 4
        deleted = topics_to_delete(world)
        await admin.delete_topics(deleted)
        async with asyncio.timeout(GONE_SECONDS):
            while set(deleted) & set(await admin.list_topics()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    (truncate,) = re.findall(r"`(TRUNCATE [^`]+)`", runbook())  # 5
    await world.execute(truncate)
    world.app.start()  # 6

    await world.caught_up()
    found = await reconcile_until(world.settings, calendar_of(world.settings))
    assert found.differ == 0, found
    await world.assert_equal_to_the_oracle()
    await world.assert_equal_to_a_replay()


async def forget_the_connector(world: World) -> None:
    connect_settings = world.settings.connect
    path = f"/connectors/{connect_settings.connector}"
    async with httpx.AsyncClient(base_url=connect_settings.url, timeout=30) as client:
        (await client.put(f"{path}/stop")).raise_for_status()
        async with asyncio.timeout(GONE_SECONDS):
            # Refused while its task is still on its way to the end.
            while (await client.delete(f"{path}/offsets")).is_error:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        (await client.delete(path)).raise_for_status()


async def drop_the_slot(world: World) -> None:
    (drop,) = re.findall(r"`(SELECT pg_drop_replication_slot[^`]+)`", runbook())
    slot = world.settings.postgres.slot
    await world.execute(drop.replace("'deltafolio'", f"'{slot}'"))
